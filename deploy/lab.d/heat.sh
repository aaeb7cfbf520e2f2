# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# heat.sh - temperatures: a processor chip shaped like coretemp and a board chip with the inlet's.

HEAT_CPU=45
HEAT_INLET=24

heat_files() {
    local at=$STATE/hosts/$1/hwmon
    mkdir -p "$at"/hwmon{0,1} "$at/.bus/platform" "$at"/.devices/{coretemp.0,board.0}
    ln -sfn ../../.bus/platform "$at/.devices/coretemp.0/subsystem"
    ln -sfn ../../.bus/platform "$at/.devices/board.0/subsystem"
    ln -sfn ../.devices/coretemp.0 "$at/hwmon0/device"
    ln -sfn ../.devices/board.0 "$at/hwmon1/device"
    echo coretemp >"$at/hwmon0/name"
    echo "Package id 0" >"$at/hwmon0/temp1_label"
    echo 85000 >"$at/hwmon0/temp1_max"
    echo 100000 >"$at/hwmon0/temp1_crit"
    echo board >"$at/hwmon1/name"
    echo "Inlet Temp" >"$at/hwmon1/temp1_label"
    echo 35000 >"$at/hwmon1/temp1_max"
    echo 42000 >"$at/hwmon1/temp1_crit"
    heat_write "$1" cpu $((HEAT_CPU * 1000))
    heat_write "$1" inlet $((HEAT_INLET * 1000))
}

heat_file() {
    case $2 in
    cpu) echo "$STATE/hosts/$1/hwmon/hwmon0/temp1_input" ;;
    inlet) echo "$STATE/hosts/$1/hwmon/hwmon1/temp1_input" ;;
    esac
}

# heat_write HOST SENSOR TEXT: in one act, as a reader may come at any time.
heat_write() {
    local file fresh
    file=$(heat_file "$1" "$2")
    fresh=$STATE/hosts/$1/hwmon/.fresh.$2
    echo "$3" >"$fresh"
    mv "$fresh" "$file"
}

# heat_thousandths CELSIUS: 71.25 -> 71250
heat_thousandths() {
    [[ $1 =~ ^(-?)([0-9]{1,4})(\.([0-9]{1,3}))?$ ]] || return 1
    local part=${BASH_REMATCH[4]}000
    echo "${BASH_REMATCH[1]}$((10#${BASH_REMATCH[2]} * 1000 + 10#${part:0:3}))"
}

heat_model_runs() {
    recorded "$STATE/heat" >/dev/null
}

heat_model() {
    local want=$1 inlet=$HEAT_INLET guest=5 core=20 tau=4
    shift
    while [ $# -gt 0 ]; do
        need $# "$1"
        heat_thousandths "$2" >/dev/null || usage "$1 wants a number, not '$2'"
        case $1 in
        --inlet) inlet=$2 ;;
        --per-guest) guest=$2 ;;
        --per-core) core=$2 ;;
        --tau) tau=$2 ;;
        *) usage "heat --model does not know '$1'" ;;
        esac
        shift 2
    done
    [[ $want =~ ^(on|off)$ ]] || usage "heat --model is on or off, not '$want'"
    need_lab
    stop "$STATE/heat"
    [ "$want" = on ] || return 0
    spawn "$STATE/heat" "$STATE/log/heat" /srv/lab/bin/heat /srv/lab/hosts "$inlet" "$guest" "$core" "$tau"
}

# heat_sensor HOST SENSOR WHAT
heat_sensor() {
    local host=$1 sensor=$2 what=$3 at=$STATE/hosts/$1/heat milli
    case $what in
    garbage)
        touch "$at/$sensor.pin"
        heat_write "$host" "$sensor" garbage
        ;;
    gone)
        touch "$at/$sensor.pin"
        rm -f "$(heat_file "$host" "$sensor")"
        ;;
    auto)
        rm -f "$at/$sensor.pin" "$at/$sensor.offset" "$at/factor"
        if [ "$sensor" = cpu ]; then milli=$((HEAT_CPU * 1000)); else milli=$((HEAT_INLET * 1000)); fi
        heat_model_runs || heat_write "$host" "$sensor" "$milli"
        ;;
    +*) echo "${what#+}" >"$at/$sensor.offset" ;;
    x*) echo "${what#x}" >"$at/factor" ;;
    *)
        touch "$at/$sensor.pin"
        heat_write "$host" "$sensor" "$(heat_thousandths "$what")"
        ;;
    esac
}

cmd_heat() {
    local host what sensor sensors=""
    [ $# -ge 2 ] || usage "heat wants HOST and a temperature, or --model on|off"
    if [ "$1" = --model ]; then
        shift
        heat_model "$@"
        return
    fi
    host=$1 what=$2
    shift 2
    while [ $# -gt 0 ]; do
        case $1 in
        --inlet) sensors+=" inlet" ;;
        --cpu) sensors+=" cpu" ;;
        *) usage "heat does not know '$1'" ;;
        esac
        shift
    done
    need_host "$host"
    case $what in
    garbage | gone | auto) sensors=${sensors:-cpu inlet} ;;
    +* | x*)
        heat_thousandths "${what:1}" >/dev/null || usage "'$what' is not an offset or a factor"
        heat_model_runs || die "'$what' needs the model: lab heat --model on"
        ;;
    *) heat_thousandths "$what" >/dev/null || usage "'$what' is not a temperature" ;;
    esac
    for sensor in ${sensors:-cpu}; do
        heat_sensor "$host" "$sensor" "$what"
    done
}

# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# guest.sh - guests: defined through virsh inside a host, proved alive by their own heartbeat.

NBD_PORT=10809
GUEST_OWN_MIB=4
GUEST_NAME='^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'
METADATA=https://skein.dev/domain/1

# Built afresh by each `up`: a few kilobytes, no library, no standard start-up code.
guest_build() {
    gcc -m32 -march=i486 -O2 -ffreestanding -fno-pic -fno-stack-protector -fno-asynchronous-unwind-tables -mno-sse \
        -nostdlib -static -Wl,-T,"$HERE/lab.d/guest/guest.ld" -Wl,--build-id=none -Wl,--no-warn-rwx-segments \
        -o "$1" "$HERE/lab.d/guest/boot.S" "$HERE/lab.d/guest/guest.c"
}

need_guest() {
    need_lab
    if ! [[ $1 =~ $GUEST_NAME ]] || [ ! -d "$STATE/guests/$1" ]; then
        die "lab '$LAB' has no guest '$1'"
    fi
}

# A libvirtd that hangs keeps nobody for ever.
virsh_in() {
    local host=$1
    shift
    in_host "$host" timeout 30 virsh -q -c qemu:///system "$@"
}

escape() {
    sed 's/&/\&amp;/g; s/</\&lt;/g; s/"/\&quot;/g' <<<"$1"
}

guest_disk_xml() {
    case $2 in
    shared) cat <<END ;;
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='/srv/shared/$1.raw'/>
      <target dev='vda' bus='virtio'/>
    </disk>
END
    network) cat <<END ;;
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source protocol='nbd' name='$1'><host name='10.77.0.254' port='$3'/></source>
      <target dev='vda' bus='virtio'/>
    </disk>
END
    esac
}

# guest_xml NAME UUID MEMORY VCPUS CMDLINE DISK PORT META... (key=value; those that begin with "tag:" are tags)
guest_xml() {
    local name=$1 uuid=$2 memory=$3 vcpus=$4 cmdline=$5 disk=$6 port=$7 meta key
    shift 7
    cat <<END
<domain type='qemu'>
  <name>$name</name>
  <uuid>$uuid</uuid>
  <metadata>
    <skein:vm xmlns:skein="$METADATA">
END
    for meta in "$@"; do
        key=${meta%%=*}
        case $key in
        tag:*) echo "      <skein:tag name=\"$(escape "${key#tag:}")\" value=\"$(escape "${meta#*=}")\"/>" ;;
        *) echo "      <skein:$key>$(escape "${meta#*=}")</skein:$key>" ;;
        esac
    done
    cat <<END
    </skein:vm>
  </metadata>
  <memory unit='MiB'>$memory</memory>
  <vcpu>$vcpus</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
    <kernel>/srv/shared/kernel/guest.elf</kernel>
    <cmdline>$cmdline</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'><model>qemu64</model></cpu>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
$(guest_disk_xml "$name" "$disk" "$port")
    <controller type='usb' model='none'/>
    <serial type='file'>
      <source path='/srv/shared/console/$name.log' append='on'/>
      <target port='0'/>
    </serial>
    <video><model type='none'/></video>
    <memballoon model='none'/>
  </devices>
</domain>
END
}

# guest_serve NAME: its network disk, from the bridge's address; prints the port.
guest_serve() {
    local port=$NBD_PORT
    while [ -e "$STATE/ports/$port" ] || ! (set -C && echo "$1" >"$STATE/ports/$port") 2>/dev/null; do
        port=$((port + 1))
    done
    spawn "$STATE/guests/$1/nbd" "$STATE/log/nbd" qemu-nbd --persistent --shared=0 --format=raw --cache=none \
        --bind=10.77.0.254 --port="$port" --export-name="$1" "/srv/lab/nbd/$1.raw"
    # shellcheck disable=SC2016
    in_lab bash -c 'for ((i = 0; i < 250; i++)); do
        { : </dev/tcp/10.77.0.254/$1; } 2>/dev/null && exit; sleep 0.02; done; exit 1' - "$port" ||
        die "qemu-nbd does not answer; see $STATE/log/nbd"
    echo "$port"
}

guest_add() {
    local name=${1-} host="" memory="" dirty=0 wset="" vcpus=1 disk=shared transient="" metas=() port="" cmdline own how
    [[ $name =~ $GUEST_NAME ]] || usage "guest add wants a name of letters, digits, . _ -"
    shift
    while [ $# -gt 0 ]; do
        case $1 in
        --transient)
            transient=1
            shift
            continue
            ;;
        --host | --memory | --dirty | --wset | --vcpus | --disk | --tag | --meta) need $# "$1" ;;
        *) usage "guest add does not know '$1'" ;;
        esac
        case $1 in
        --host) host=$2 ;;
        --disk) disk=$2 ;;
        --tag)
            [[ $2 == ?*=* ]] || usage "--tag wants KEY=VALUE, not '$2'"
            metas+=("tag:$2")
            ;;
        --meta)
            [[ $2 =~ ^[a-z_]+= ]] || usage "--meta wants KEY=VALUE, not '$2'"
            metas+=("$2")
            ;;
        *) is_number "$2" || usage "$1 wants a number, not '$2'" ;;&
        --memory) memory=$2 ;;
        --dirty) dirty=$2 ;;
        --wset) wset=$2 ;;
        --vcpus) vcpus=$2 ;;
        esac
        shift 2
    done
    [ -n "$host" ] || usage "guest add wants --host"
    [ -n "$memory" ] || usage "guest add wants --memory"
    [[ $disk =~ ^(shared|network|none)$ ]] || usage "--disk is shared, network or none, not '$disk'"
    ((${wset:-0} + GUEST_OWN_MIB <= memory)) || usage "--wset leaves less than $GUEST_OWN_MIB MiB of --memory"
    need_power "$host"
    own=$STATE/guests/$name
    mkdir "$own" 2>/dev/null || die "there is a guest '$name' already"
    case $disk in
    shared) truncate -s 16M "$STATE/shared/$name.raw" ;;
    network)
        truncate -s 16M "$STATE/nbd/$name.raw"
        port=$(guest_serve "$name") || { guest_forget "$name" && exit 1; }
        ;;
    esac
    cmdline="name=$name dirty=$dirty${wset:+ wset=$wset}"
    : >"$STATE/shared/console/$name.log"
    guest_xml "$name" "$(uuidgen)" "$memory" "$vcpus" "$cmdline" "$disk" "$port" "${metas[@]}" >"$own/xml"
    how="define /dev/stdin"
    [ -z "$transient" ] || how="create /dev/stdin"
    # shellcheck disable=SC2086 # a command and its file
    if ! virsh_in "$host" $how <"$own/xml" >/dev/null || { [ -z "$transient" ] && ! virsh_in "$host" start "$name" >/dev/null; }; then
        [ -n "$transient" ] || virsh_in "$host" undefine "$name" >/dev/null 2>&1 || :
        guest_forget "$name"
        die "$host does not take guest '$name'"
    fi
}

# Its disk, its server, its console and what is written of it here.
guest_forget() {
    stop "$STATE/guests/$1/nbd"
    grep -lsxZ -- "$1" "$STATE"/ports/* | xargs -0r rm -f
    rm -rf "$STATE/shared/$1.raw" "$STATE/nbd/$1.raw" "$STATE/shared/console/$1.log" "$STATE/pulse/$1" "$STATE/guests/$1"
}

guest_remove() {
    local host
    [ $# -eq 1 ] || usage "guest remove wants a name"
    need_guest "$1"
    for host in $(hosts); do
        if host_init "$host" >/dev/null; then
            virsh_in "$host" destroy "$1" >/dev/null 2>&1 || :
            virsh_in "$host" undefine "$1" >/dev/null 2>&1 || :
        else
            rm -f "$STATE/hosts/$host/etc/libvirt/qemu/"{,autostart/}"$1.xml"
        fi
    done
    guest_forget "$1"
}

# All guests on all hosts: "NAME HOST STATE"; a guest that is nowhere has host "-".
guest_places() {
    local host known seen
    known=$(ls "$STATE/guests")
    seen=$(for host in $(hosts); do
        host_init "$host" >/dev/null || continue
        virsh_in "$host" list --all 2>/dev/null | sed -E "s/^ *[^ ]+ +([^ ]+) +(.*[^ ]) *\$/\1 $host \2/" || :
    done)
    sort <(echo "$seen") <(for name in $known; do
        grep -q "^$name " <<<"$seen" || echo "$name - nowhere"
    done) | sed '/^$/d'
}

guest_list() {
    need_lab
    if json_wanted "$@"; then
        guest_places | jq -R -s 'split("\n") | map(select(. != "") | capture("^(?<name>[^ ]+) (?<host>[^ ]+) (?<state>.*)$")
            | .host |= if . == "-" then null else . end)'
    else
        { echo "NAME HOST STATE"; guest_places; } | sed 's/ /\t/; s/ /\t/' | column -t -s $'\t'
    fi
}

guest_counter() {
    local counter starts gap last overlaps now
    [ $# -ge 1 ] || usage "guest counter wants a name"
    need_guest "$1"
    { read -r counter starts gap last overlaps <"$STATE/pulse/$1"; } 2>/dev/null || die "no heartbeat of '$1' yet"
    read -r now _ </proc/uptime
    now=$((${now/./} * 10))
    ((last > 0)) && now=$((now > last ? now - last : 0)) || now=null
    if json_wanted "${@:2}"; then
        printf '{"name":"%s","counter":%d,"starts":%d,"longest_gap_ms":%d,"silent_ms":%s,"overlaps":%d}\n' \
            "$1" "$counter" "$starts" "$gap" "$now" "$overlaps"
    else
        printf 'counter %d  starts %d  longest gap %d ms  silent for %s ms  overlaps %d\n' \
            "$counter" "$starts" "$gap" "$now" "$overlaps"
    fi
}

cmd_guest() {
    local what=${1-}
    [ $# -eq 0 ] || shift
    case $what in
    add | list | counter | remove) "guest_$what" "$@" ;;
    *) usage "guest wants add, list, counter or remove" ;;
    esac
}

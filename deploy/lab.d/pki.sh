# shellcheck shell=bash disable=SC2034,SC2153,SC2154 # names shared by the parts
# pki.sh - certificates of hosts and people, made as an operator makes them: by `skein init` and `skein cert`.
# STATE/pki is the authority's folder.

skein() {
    "$(build_folder)/bin/skein" "$@" >>"$STATE/log/pki"
}

# People first: a host is given the roster of its day.
lab_pki_roots() {
    local person
    [ -x "$(build_folder)/bin/skein" ] || die "there is no $(build_folder)/bin/skein: build it, or name another folder with --build"
    skein init --cluster "$LAB" --directory "$STATE/pki"
    mkdir "$STATE/people"
    cp "$STATE"/pki/people/admin.{pem,key} "$STATE/people/"
    for person in approver operator viewer; do
        skein cert issue --directory "$STATE/pki" --person "$person" --roles "$person" --out "$STATE/people"
    done
}

lab_pki() {
    skein cert issue --directory "$STATE/pki" --host "$1" --dns "$1" --dns "$1-mig" \
        --ip "$(mesh_ip "$1")" --ip "$(migration_ip "$1")" --out "$STATE/hosts/$1/etc/pki"
}

# libvirtd's list of whom to let in. It compares the text of a name, so it must be the text that libvirt itself makes.
lab_pki_names() {
    local host
    for host in $(hosts); do
        virt-pki-query-dn "$STATE/hosts/$host/etc/pki/libvirt/clientcert.pem"
    done | sed 's/.*/"&"/' | paste -s -d, >"$STATE/names"
}

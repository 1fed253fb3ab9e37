#!/bin/sh
# Installs what the Makefile's commands need, and says what it is doing.
#   setup.sh root | packages | xo | browser | xen | demo | venv FOLDER REQUIREMENTS |
#            venv36 FOLDER REQUIREMENTS | pythons FOLDER REQUIREMENTS VERSION...
set -eu
cd "$(dirname "$0")/.."
umask 022
LOG=.cache/setup.log
mkdir -p .cache

say() { printf '%s\n' "xsisolate setup: $*" >&2; }
die() { say "$@"; exit 1; }
present() { command -v "$1" >/dev/null 2>&1; }

# pip speaks English, asks nothing, and the venv is not mixed with the user's own packages
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONNOUSERSITE=1
PATH=$PATH:/usr/sbin:/sbin

# Prints the Debian packages that are missing; looks for what they bring, not for their names.
missing() {
    [ -x /usr/bin/python3 ] || echo python3
    /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    present gcc || echo gcc
    [ -e /usr/include/stdlib.h ] || echo libc6-dev
    present ip || echo iproute2
    present ethtool || echo ethtool
    present nsenter || echo util-linux
    { present ovs-vswitchd && present ovs-ofctl; } || echo openvswitch-switch
    present xenstore-read || echo xenstore-utils
    present openssl || echo openssl     # the fake pool's certificates
    # what the packet tests have on their network
    present radvd || echo radvd
    present dnsmasq || echo dnsmasq-base
    present dhclient || echo isc-dhcp-client
    present dhcpcd || echo dhcpcd-base
    [ -x /lib/systemd/systemd-networkd ] || echo systemd
    present iperf3 || echo iperf3
    present keepalived || echo keepalived
    present ucarp || echo ucarp
    present kea-dhcp4 || echo kea-dhcp4-server
    ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || echo libfaketime
    present strace || echo strace
    # what a VM is moved with, and what the recipes are for
    present zstd || echo zstd
    present multipath || echo multipath-tools
    present node || echo nodejs
    present npm || echo npm
    # what the package is made and tried with
    present git || echo git
    { present rpmbuild && present rpm2cpio; } || echo rpm
    present cpio || echo cpio
    present rpmlint || echo rpmlint
    present createrepo_c || echo createrepo-c
    present udevadm || echo udev
    ls /usr/lib/xen-*/bin/oxenstored >/dev/null 2>&1 || echo xen-utils
    present groff || echo groff-base    # its warnings about the man page are a test
    [ -z "${BROWSER_TOO:-}" ] || present chromium || echo chromium
    [ -n "${XEN_TOO:-}" ] || return 0
    present qemu-system-x86_64 || echo qemu-system-x86
    present debootstrap || echo debootstrap
    present modprobe || echo kmod
    present mke2fs || echo e2fsprogs
}

packages() {
    wanted=$(missing | tr '\n' ' ')
    [ -n "$wanted" ] || return 0
    present apt-get || die "this needs Debian's packages, but there is no apt-get; missing: $wanted"
    [ "$(id -u)" = 0 ] || die "run this as root once, to install: $wanted"
    say "installing Debian packages: $wanted(a minute or two)"
    export DEBIAN_FRONTEND=noninteractive
    # no daemon need start: the sandbox runs its own, in namespaces of their own
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        trap 'exit 130' INT TERM
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    apt-get update -q </dev/null >"$LOG" 2>&1 || say "apt-get update failed, see $LOG; going on with what apt knows"
    names=
    for name in $wanted; do
        if [ "$name" = xen-utils ]; then    # its name carries Xen's version
            name=$(apt-cache pkgnames xen-utils-4 | grep -x 'xen-utils-[0-9.]*' | sort -V | tail -n 1)
            [ -n "$name" ] || die "apt knows no xen-utils-4.x, which brings oxenstored; see $LOG"
        fi
        names="$names $name"
    done
    # shellcheck disable=SC2086
    if ! apt-get install -y -q --no-install-recommends $names </dev/null >>"$LOG" 2>&1; then
        tail -n 5 "$LOG" >&2
        die "apt-get could not install:$names (offline? then install them by hand; all of it is in $LOG)"
    fi
    wanted=$(missing | tr '\n' ' ')
    [ -z "$wanted" ] || die "installed, but still not there: $wanted(see $LOG)"
}

# Prints a Python of a version (3.6) that runs; a pyenv shim may be there and refuse.
find_python() {
    for python in "$(command -v "python$1" || true)" "/usr/bin/python$1" "/usr/local/bin/python$1" \
            "${HOME:-/nonexistent}/.pyenv/versions/$1".*/bin/"python$1" \
            "${PYENV_ROOT:-/nonexistent}/versions/$1".*/bin/"python$1"; do
        if [ -n "$python" ] && "$python" -c "import sys, ensurepip, venv
sys.exit('%d.%d' % sys.version_info[:2] != '$1')" >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
}

# make_venv PYTHON FOLDER REQUIREMENTS
make_venv() {
    say "making $2 for $("$1" -V) with pip (half a minute)"
    rm -rf "$2"
    "$1" -m venv "$2" >"$LOG" 2>&1 || { tail -n 3 "$LOG" >&2; die "$1 -m venv $2 failed, see $LOG"; }
    # The pip that comes with 3.6 picks what is too new for it; exact versions leave no choice.
    if [ "$2" = .venv36 ]; then
        "$2/bin/python" -m pip install -q 'pip==21.3.1' 'setuptools==59.6.0' 'wheel==0.37.1' \
            >>"$LOG" 2>&1 || offline "$2" "$3"
    fi
    "$2/bin/python" -m pip install -q -r "$3" >>"$LOG" 2>&1 || offline "$2" "$3"
    touch "$2/ready"
}

offline() {
    tail -n 3 "$LOG" >&2
    die "pip could not install $2 into $1 (offline? pip's own words are in $LOG)"
}

# Xen Orchestra's own client, exactly as tests/system/migratevm/xo/package-lock.json has it.
install_xo() {
    if cmp -s tests/system/migratevm/xo/package-lock.json .cache/xo/installed; then
        return 0
    fi
    say "installing Xen Orchestra's client with npm (half a minute)"
    rm -rf .cache/xo
    mkdir -p .cache/xo
    cp tests/system/migratevm/xo/package.json tests/system/migratevm/xo/package-lock.json .cache/xo/
    if ! (cd .cache/xo && npm ci --ignore-scripts --no-audit --no-fund) >"$LOG" 2>&1; then
        tail -n 3 "$LOG" >&2
        die "npm could not install Xen Orchestra's client (offline? npm's own words are in $LOG)"
    fi
    cp tests/system/migratevm/xo/package-lock.json .cache/xo/installed
}

case ${1:-} in
xo)
    install_xo ;;
root)
    [ "$(id -u)" = 0 ] || die "this needs root: the sandbox Dom0 makes network namespaces" ;;
packages)
    packages ;;
browser)
    BROWSER_TOO=yes
    packages ;;
xen)
    XEN_TOO=yes
    packages ;;
venv)
    make_venv "${PYTHON:-/usr/bin/python3}" "$2" "$3" ;;
venv36)
    python36=${PY36:-$(find_python 3.6)}
    if [ -n "$python36" ]; then
        make_venv "$python36" "$2" "$3"
    else    # not ready for good: a Python 3.6 may come, so it is looked for each time
        rm -rf "$2"
        say "no Python 3.6 found (PY36=/path/to/python3.6 names one): going on without it"
    fi ;;
pythons)
    folder=$2 requirements=$3
    shift 3
    for version; do
        python=$(find_python "$version")
        if [ -z "$python" ]; then
            rm -rf "$folder/$version"
            say "no Python $version found: going on without it"
        elif [ ! "$folder/$version/ready" -nt "$requirements" ]; then
            mkdir -p "$folder"
            make_venv "$python" "$folder/$version" "$requirements"
        fi
    done ;;
demo)
    python=.venv/bin/python
    export XDG_CACHE_HOME="$PWD/.cache" XDG_CONFIG_HOME="$PWD/.cache"      # scapy writes there
    PYTHONPATH=$PWD/tests/programs:$PWD/lib exec "$python" -m demo ;;
*)
    die "unknown command: ${1:-}" ;;
esac

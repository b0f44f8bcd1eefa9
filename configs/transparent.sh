#!/bin/sh
# Redirects an application's connections to the weir beside it, and back: docs/transparent.md.
set -eu
set -f # lists are split into words, never into names of files

usage() {
    cat <<'END'
usage: transparent.sh up|down|status [NAME=VALUE ...]

up      puts the rules in force; what an earlier `up` has left is replaced in one step
down    removes what `up` has made, and nothing else. Open connections that were redirected
        go on only where other rules need connection tracking as well
status  shows the rules with their counters; exit code 0 if there are any, 3 if there are none

Settings are variables of the environment, or arguments after the verb:

OUTBOUND_PORTS   ports whose outgoing connections go to weir, e.g. 80,8080,9000-9010
INBOUND_PORTS    ports of this machine whose incoming connections go to weir, e.g. 3000
WEIR_USER        the user that weir runs as, a name or a number: its own connections are
                 left alone. Required with OUTBOUND_PORTS
WEIR_OUT_PORT    the port of weir's listener for outgoing connections: 15001
WEIR_IN_PORT     the port of weir's listener for incoming connections: 15006
EXCLUDE_CIDRS    outgoing connections to these addresses are left alone, IPv4 and IPv6:
                 127.0.0.0/8,::1/128
IPV6             yes, no, or auto: yes where ip6tables has a nat table
END
}

# Both live in the table nat. The first hangs in OUTPUT, the second in PREROUTING.
outbound_chain=WEIR_OUTBOUND
inbound_chain=WEIR_INBOUND

fail() {
    echo "transparent.sh: $*" >&2
    exit 1
}

warn() {
    echo "transparent.sh: warning: $*" >&2
}

# Settings

# Whether $1 is a number from 1 to 65535.
is_port() {
    case $1 in
    '' | *[!0-9]* | 0* | ??????*) return 1 ;;
    esac
    [ "$1" -le 65535 ]
}

# The list $2, named $1, one port or range a line, in the words of iptables (9000:9010).
# What weir itself listens on must not be among them: its connections would go round.
ports_of() {
    name=$1
    for entry in $(printf %s "$2" | tr , ' '); do
        first=${entry%%[:-]*}
        last=${entry#*[:-]}
        is_port "$first" && is_port "$last" && [ "$first" -le "$last" ] \
            || fail "$name: '$entry' is neither a port nor a range of ports"
        for own in "$WEIR_OUT_PORT" "$WEIR_IN_PORT"; do
            if [ "$own" -ge "$first" ] && [ "$own" -le "$last" ]; then
                fail "$name: '$entry' has weir's own port $own in it"
            fi
        done
        if [ "$first" = "$last" ]; then echo "$first"; else echo "$first:$last"; fi
    done
}

# The prefixes of EXCLUDE_CIDRS that are of family $1, one a line.
excluded() {
    for prefix in $(printf %s "$EXCLUDE_CIDRS" | tr , ' '); do
        case $prefix in
        *[!0-9a-fA-F.:/]*) fail "EXCLUDE_CIDRS: '$prefix' is not an address with the length of a prefix" ;;
        *:*) [ "$1" = 4 ] || echo "$prefix" ;;
        *) [ "$1" = 6 ] || echo "$prefix" ;;
        esac
    done
}

settle() {
    : "${OUTBOUND_PORTS=}" "${INBOUND_PORTS=}" "${WEIR_USER=}" "${IPV6=auto}"
    : "${WEIR_OUT_PORT=15001}" "${WEIR_IN_PORT=15006}" "${EXCLUDE_CIDRS=127.0.0.0/8,::1/128}"
    is_port "$WEIR_OUT_PORT" || fail "WEIR_OUT_PORT: '$WEIR_OUT_PORT' is not a port"
    is_port "$WEIR_IN_PORT" || fail "WEIR_IN_PORT: '$WEIR_IN_PORT' is not a port"
    case $IPV6 in
    yes | no | auto) ;;
    *) fail "IPV6: '$IPV6' is none of yes, no and auto" ;;
    esac
    outbound=$(ports_of OUTBOUND_PORTS "$OUTBOUND_PORTS")
    inbound=$(ports_of INBOUND_PORTS "$INBOUND_PORTS")
    excluded 4 >/dev/null
    [ -n "$outbound$inbound" ] || fail "neither OUTBOUND_PORTS nor INBOUND_PORTS names a port"
    uid=
    if [ -n "$outbound" ]; then
        [ -n "$WEIR_USER" ] || fail "OUTBOUND_PORTS takes WEIR_USER: without it" \
            "weir's own connections would come back to weir"
        case $WEIR_USER in
        *[!0-9]*) uid=$(id -u -- "$WEIR_USER" 2>/dev/null) || fail "WEIR_USER: there is no user '$WEIR_USER'" ;;
        *) uid=$WEIR_USER ;;
        esac
        [ "$uid" -ne 0 ] || warn "WEIR_USER is root: whatever root sends passes weir by"
    fi
}

# iptables. Each of these takes the family, 4 or 6.

ipt() {
    if [ "$1" = 4 ]; then program=iptables; else program=ip6tables; fi
    shift
    "$program" -w 5 -t nat "$@"
}

restore() {
    if [ "$1" = 4 ]; then program=iptables-restore; else program=ip6tables-restore; fi
    shift
    "$program" --noflush -w 5 "$@"
}

has_chain() {
    ipt "$1" -n -L "$2" >/dev/null 2>&1
}

# Whether hook $2 leads to chain $3.
has_jump() {
    ipt "$1" -C "$2" -p tcp --syn -j "$3" >/dev/null 2>&1
}

# What `iptables-restore` has to be told so that chain $3, in hook $2, is what stdin says;
# without a rule there, the chain goes.
chain() {
    rules=$(cat)
    if [ -n "$rules" ]; then
        # Naming a chain empties it, or makes it. First in its hook: whoever rewrites
        # destinations as well (kube-proxy, Docker) does so for weir's own connections.
        # Only what begins: connections that were open before would be torn.
        echo ":$3 - [0:0]"
        echo "$rules"
        has_jump "$1" "$2" "$3" || echo "-I $2 1 -p tcp --syn -j $3"
    elif has_chain "$1" "$3"; then
        if has_jump "$1" "$2" "$3"; then echo "-D $2 -p tcp --syn -j $3"; fi
        echo "-F $3"
        echo "-X $3"
    fi
}

rules_of_outbound() {
    [ -n "$outbound" ] || return 0
    echo "-A $outbound_chain -m owner --uid-owner $uid -j RETURN"
    for prefix in $(excluded "$1"); do
        echo "-A $outbound_chain -d $prefix -j RETURN"
    done
    for port in $outbound; do
        echo "-A $outbound_chain -p tcp --dport $port -j REDIRECT --to-ports $WEIR_OUT_PORT"
    done
}

# Only what is meant for this machine: what it forwards for others is none of weir's business.
rules_of_inbound() {
    for port in $inbound; do
        echo "-A $inbound_chain -p tcp --dport $port -m addrtype --dst-type LOCAL" \
            "-j REDIRECT --to-ports $WEIR_IN_PORT"
    done
}

transaction() {
    echo "*nat"
    rules_of_outbound "$1" | chain "$1" OUTPUT "$outbound_chain"
    rules_of_inbound | chain "$1" PREROUTING "$inbound_chain"
    echo COMMIT
}

# Puts the rules in force, or looks whether they could be. They are complete before
# iptables-restore begins: it holds the lock that looking at the tables takes.
apply() {
    text=$(transaction "$1")
    echo "$text" | restore "$@"
}

# Whether there is a nat table for IPv6.
has_ipv6() {
    command -v ip6tables >/dev/null && command -v ip6tables-restore >/dev/null \
        && ipt 6 -n -L OUTPUT >/dev/null 2>&1
}

# Verbs

# Whether the rules are wanted for family $1.
is_wanted() {
    [ "$1" = 4 ] || [ "$IPV6" != no ]
}

up() {
    settle
    case $IPV6,$families in
    yes,4) fail "IPV6=yes, but ip6tables is not installed or has no nat table" ;;
    auto,4) warn "ip6tables is not installed or has no nat table: IPv6 passes weir by" ;;
    esac
    # All is tried before any of it is done.
    for family in $families; do
        is_wanted "$family" || continue
        apply "$family" --test || fail "iptables refuses the rules; nothing is changed"
    done
    for family in $families; do
        if is_wanted "$family"; then apply "$family"; else remove "$family"; fi
    done
}

remove() {
    for pair in "OUTPUT $outbound_chain" "PREROUTING $inbound_chain"; do
        hook=${pair% *}
        name=${pair#* }
        has_chain "$1" "$name" || continue
        while has_jump "$1" "$hook" "$name"; do ipt "$1" -D "$hook" -p tcp --syn -j "$name"; done
        ipt "$1" -F "$name"
        ipt "$1" -X "$name"
    done
}

down() {
    for family in $families; do remove "$family"; done
}

status() {
    code=3
    for family in $families; do
        for pair in "OUTPUT $outbound_chain" "PREROUTING $inbound_chain"; do
            hook=${pair% *}
            name=${pair#* }
            has_chain "$family" "$name" || continue
            has_jump "$family" "$hook" "$name" || warn "IPv$family: $hook does not lead to $name"
            echo "IPv$family, $hook:"
            ipt "$family" -n -v -L "$name"
            code=0
        done
    done
    [ "$code" -eq 0 ] || echo "no rules"
    return "$code"
}

case ${1-} in
up | down | status) verb=$1 ;;
-h | --help | help)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
shift
for setting; do
    case $setting in
    OUTBOUND_PORTS=* | INBOUND_PORTS=* | WEIR_USER=* | WEIR_OUT_PORT=* | WEIR_IN_PORT=* | EXCLUDE_CIDRS=* | IPV6=*)
        export "${setting?}"
        ;;
    *)
        echo "transparent.sh: '$setting' is no setting" >&2
        usage >&2
        exit 2
        ;;
    esac
done

[ "$(id -u)" -eq 0 ] || fail "only root may change the rules of iptables"
for program in iptables iptables-restore; do
    command -v "$program" >/dev/null || fail "$program is not installed"
done
ipt 4 -n -L OUTPUT >/dev/null || fail "iptables has no nat table here"
families=4
if has_ipv6; then families="4 6"; fi
"$verb"

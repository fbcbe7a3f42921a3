# Sourced by the samples: starts nodes in a temporary directory and ends them with the script.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
holdfast=${HOLDFAST:-}
for candidate in "$top/target/release/holdfast" "$top/target/debug/holdfast"; do
    if [ -z "$holdfast" ] && [ -x "$candidate" ]; then
        holdfast=$candidate
    fi
done
if [ -z "$holdfast" ]; then
    echo "No holdfast binary: run \`cargo build --release\` first, or set HOLDFAST=path/to/holdfast." >&2
    exit 1
fi

work=$(mktemp -d)
declare -A process_of=() port_of=()
trap 'kill "${process_of[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

client=(-H "Database: shop" -H "ApiKey: root")
cluster=(-H "ReplicationApiKey: I_AM_ONE_OF_YOU")
json=(-H "Content-Type: application/json")

# What a person would type, then what came back.
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# call URL [curl's arguments]: fails, and shows the answer, where the node says no.
call() {
    local answer status
    answer=$(curl -sS --max-time 20 -w '\n%{http_code}' "$@") || return 1
    status=${answer##*$'\n'}
    answer=${answer%$'\n'*}
    if [ "$status" -ge 400 ]; then
        echo "$status: $answer" >&2
        return 1
    fi
    printf '%s\n' "$answer"
}

# start_node NAME PORT: port 0 is one that is free; ${port_of[NAME]} has it then.
start_node() {
    "$holdfast" serve --urls "http://127.0.0.1:$2" --node-id "$1" --data-dir "$work/$1" \
        </dev/null >>"$work/$1.log" 2>&1 &
    process_of[$1]=$!
    if ! eventually 20 is_ready "$1" 2>/dev/null; then
        echo "$1 did not start:" >&2
        cat "$work/$1.log" >&2
        exit 1
    fi
}

# is_ready NAME: its banner tells where it listens.
is_ready() {
    local banner
    banner=$(grep -oE 'address +http://127\.0\.0\.1:[0-9]+' "$work/$1.log" | tail -n 1) || return 1
    port_of[$1]=${banner##*:}
    curl -fsS -o /dev/null "http://127.0.0.1:${port_of[$1]}/readyz"
}

# introduce PORT NAME PORT [true|false]: tells the node on the first port about the other one.
introduce() {
    call "http://127.0.0.1:$1/api/cluster/peers" "${cluster[@]}" "${json[@]}" \
        -d "{\"NodeId\": \"$2\", \"BaseUrl\": \"http://127.0.0.1:$3\", \"IsActive\": ${4:-true}}" >/dev/null
}

# eventually SECONDS COMMAND...: tries again until it succeeds.
eventually() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$end" ]; then
            echo "Waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.1
    done
}

# same PATH PORT PORT: both nodes give the same answer, and give one at all.
same() {
    local one other
    one=$(call "http://127.0.0.1:$2$1" "${client[@]}" 2>/dev/null) || return 1
    other=$(call "http://127.0.0.1:$3$1" "${client[@]}" 2>/dev/null) || return 1
    [ "$one" = "$other" ]
}

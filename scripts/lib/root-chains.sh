# Part of scripts/devnet: the local root chains, their gateways, and the relayer.
#
# Ethereum and BNB Chain are anvil, TRON is `bttc tron-sim`. Development account 8 deploys, relays, and signs recoveries.
#
# With BTTC_TRON_RPC=URL that node is used in place of the simulator (a private TRON network whose genesis gives TRX to the
# development accounts): one port that serves /wallet, /walletsolidity and /jsonrpc. It is neither started nor stopped.

contracts=$root/bridge/contracts
anvil=$contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil
operator=0x23618e81E3f5cdF7f54C3d65f7FBc0aBf5B21E8f

has_roots() { jq -e '(.rootChains // []) | length > 0' "$file" > /dev/null 2>&1; }

# A root chain or relayer of ours that runs.
alive_root() { # PID
    [ -n "${1:-}" ] && [ "$1" != null ] && kill -0 "$1" 2>/dev/null || return 1
    tr '\0' ' ' < "/proc/$1/cmdline" 2>/dev/null | grep -q -- "$dir/"
}

install_anvil() {
    [ -x "$anvil" ] && return 0
    command -v npm >/dev/null 2>&1 || die "the local root chains need npm: install Node.js 20 or newer, or use --no-bridge"
    say "installing anvil"
    (cd "$contracts" && npm install --no-save --no-audit --no-fund --loglevel=error) || die "npm failed"
    [ -x "$anvil" ] || die "npm brought no anvil for this machine: use --no-bridge"
}

# The chain id of a TRON node that somebody else runs, as the bridge counts it: four bytes.
external_tron_id() {
    local id
    id=$(curl -sf -m 5 -H 'content-type: application/json' -d '{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}' \
        "$BTTC_TRON_RPC/jsonrpc" | jq -r '.result // empty')
    [[ $id =~ ^0x[0-9a-f]+$ ]] || die "BTTC_TRON_RPC: no TRON node answers on $BTTC_TRON_RPC/jsonrpc"
    printf '%d' $((id & 0xffffffff))
}

# Starts a root chain; sets `pid`.
launch_root() { # NAME PORT
    local log=$dir/roots/$1.log
    case $1 in
        ethereum | bsc)
            local id=1
            [ "$1" = bsc ] && id=56
            setsid nohup "$anvil" --chain-id $id --port "$2" --block-time 1 --slots-in-an-epoch 1 --quiet \
                --gas-limit 60000000 --state "$dir/roots/$1.state" --state-interval 5 >> "$log" 2>&1 < /dev/null 9>&- &
            ;;
        tron)
            local funds=() account
            while read -r account; do funds+=(--fund "$account"); done < <(accounts | jq -r '.[].address')
            setsid nohup "$bttc" tron-sim --listen "127.0.0.1:$2" --state "$dir/roots/tron.blocks" "${funds[@]}" \
                >> "$log" 2>&1 < /dev/null 9>&- &
            ;;
    esac
    pid=$!
    local tries=0 url=http://127.0.0.1:$2
    [ "$1" = tron ] && url+=/jsonrpc
    until [ "$(height "$url")" -ge 0 ]; do
        kill -0 "$pid" 2>/dev/null || { tail -n 5 "$log" >&2; die "$1 ended; its log is $log"; }
        tries=$((tries + 1))
        [ $tries -lt 150 ] || die "$1 does not answer on $url; its log is $log"
        sleep 0.2
    done
}

chain_line() { # NAME PORT
    case $1 in
        ethereum) printf 'ethereum evm 1 http://127.0.0.1:%s poll=500' "$2" ;;
        bsc) printf 'bsc evm 56 http://127.0.0.1:%s poll=500 depth=0' "$2" ;;
        tron) printf 'tron tron 728126428 http://127.0.0.1:%s poll=500' "$2" ;;
    esac
}

# Root chains with gateways and tokens, written into the genesis file; sets `chain_list` for the validators' configuration
# and `roots_json`.
create_roots() {
    install_anvil
    mkdir -p "$dir/roots"
    local name id urls=() pids=() lines=() jobs=() index=0 secret
    secret=$(mktemp "$dir/.operator.XXXXXX")
    accounts | jq -r '.[8].privateKey' > "$secret"
    rm -rf "$dir/relayer"
    "$bttc" keys import relayer --home "$dir/relayer" --secret-file "$secret" --password-file "$dir/password" 2> /dev/null
    rm -f "$secret"
    say "starting Ethereum, BNB Chain and TRON"
    for name in ethereum bsc tron; do
        if [ $name = tron ] && [ -n "${BTTC_TRON_RPC:-}" ]; then
            id=$(external_tron_id) || exit 1
            urls+=("$BTTC_TRON_RPC") pids+=(null) lines+=("tron tron $id $BTTC_TRON_RPC poll=500")
            continue
        fi
        free_port
        launch_root $name "$picked"
        urls+=("http://127.0.0.1:$picked") pids+=("$pid") lines+=("$(chain_line $name "$picked")")
    done
    say "deploying gateways and test tokens"
    local gifts=() account
    while read -r account; do gifts+=(--test-tokens-for "$account"); done < <(accounts | jq -r '.[:3][].address')
    for name in ethereum bsc tron; do
        "$bttc" bridge deploy --home "$dir/relayer" --password-file "$dir/password" --genesis "$dir/genesis.json" \
            --chain "${lines[$index]}" --pauser $operator --recoverer $operator "${gifts[@]}" \
            > "$dir/roots/$name.json" 2> "$dir/roots/$name.deploy.log" &
        jobs+=($!)
        index=$((index + 1))
    done
    index=0
    roots_json="[]"
    for name in ethereum bsc tron; do
        wait "${jobs[$index]}" || { cat "$dir/roots/$name.deploy.log" >&2; die "cannot deploy on $name"; }
        jq --slurpfile g "$dir/roots/$name.json" '.bttc.bridge.gateways += [$g[0].genesis]' "$dir/genesis.json" > "$dir/genesis.new"
        mv "$dir/genesis.new" "$dir/genesis.json"
        roots_json=$(jq --slurpfile g "$dir/roots/$name.json" --arg rpc "${urls[$index]}" \
            --argjson pid "${pids[$index]}" --arg logs "$dir/roots/$name.log" --arg line "${lines[$index]}" \
            '. + [$g[0] | del(.genesis) | . + {rpc: $rpc, pid: $pid, logs: $logs, line: $line, external: ($pid == null)}]' <<< "$roots_json")
        index=$((index + 1))
    done
    "$bttc" genesis validate "$dir/genesis.json" > /dev/null
    chain_list=$(IFS=,; printf '%s' "${lines[*]}")
}

root_field() { jq -r --arg n "$1" --arg f "$2" '.rootChains[] | select(.name == $n) | .[$f]' "$file"; }

# Starts what does not run, and brings back gateways whose set has expired meanwhile.
resume_roots() {
    has_roots || return 0
    install_anvil
    local name
    while read -r name; do
        [ "$(root_field "$name" external)" = true ] && continue
        alive_root "$(root_field "$name" pid)" && continue
        launch_root "$name" "$(root_field "$name" rpc | sed 's/.*://')"
        jq --arg n "$name" --argjson pid "$pid" '.rootChains[] |= (if .name == $n then .pid = $pid else . end)' "$file" | write_json
    done < <(jq -r '.rootChains[].name' "$file")
}

start_relayer() {
    has_roots || return 0
    local pid url lines=() line
    pid=$(jq -r '.relayer.pid' "$file")
    alive_root "$pid" && return 0
    url=$(jq -r '.validators[0].rpc' "$file")
    while read -r line; do lines+=(--chain "$line"); done < <(jq -r '.rootChains[].line' "$file")
    setsid nohup "$bttc" relayer start --home "$dir/relayer" --password-file "$dir/password" --rpc "$url" "${lines[@]}" \
        --poll-ms 500 --ops 127.0.0.1:0 >> "$dir/relayer/relayer.log" 2>&1 < /dev/null 9>&- &
    pid=$!
    jq --argjson pid $pid --arg home "$dir/relayer" --arg logs "$dir/relayer/relayer.log" \
        '.relayer = {pid: $pid, home: $home, logs: $logs}' "$file" | write_json
}

# A gateway hears nothing while everything is down, and its set expires.
recover_roots() {
    has_roots || return 0
    local name url now expires status again=()
    url=$(jq -r '.validators[0].rpc' "$file")
    now=$(date +%s)
    while read -r name; do
        status=$("$bttc" bridge status --rpc "$url" --json 2> /dev/null | jq -r --arg n "$name" \
            '.rootChains[] | select(.name == $n) | .watched.gateway.setExpiresAt // empty')
        [[ $status =~ ^0x ]] || continue
        expires=$((status))
        [ "$now" -gt "$expires" ] && again+=("$name")
    done < <(jq -r '.rootChains[].name' "$file")
    [ ${#again[@]} -gt 0 ] || return 0
    say "the sets of ${again[*]} have expired meanwhile; recovering them takes 10 s"
    local round
    for round in approve finish; do
        [ $round = approve ] || sleep 12
        for name in "${again[@]}"; do
            "$bttc" bridge recover --home "$dir/relayer" --password-file "$dir/password" --rpc "$url" \
                --chain "$(root_field "$name" line)" >> "$dir/relayer/recovery.log" 2>&1 \
                || { tail -n 3 "$dir/relayer/recovery.log" >&2; die "cannot recover the gateway on $name"; }
        done
    done
}

stop_root() { # PID
    alive_root "$1" || return 0
    kill -TERM "$1" 2>/dev/null || true
    local tries=0
    while alive_root "$1"; do
        tries=$((tries + 1))
        if [ $tries -eq 100 ]; then kill -KILL "$1" 2>/dev/null || true; fi
        [ $tries -lt 150 ] || die "process $1 does not end"
        sleep 0.1
    done
}

stop_relayer() {
    has_roots || return 0
    stop_root "$(jq -r '.relayer.pid' "$file")"
    jq '.relayer.pid = null' "$file" | write_json
}

stop_roots() {
    has_roots || return 0
    local pid
    while read -r pid; do stop_root "$pid"; done < <(jq -r '.rootChains[].pid' "$file")
    jq '.rootChains[] |= (.pid = null)' "$file" | write_json
}

#!/bin/sh
# One receive queue of the network card for each worker's core, and its interrupts there.
#
#   tuning/nic.sh apply eth0 [CPU…]   queues, IRQs, RSS, XPS for these CPUs (default: all online)
#   tuning/nic.sh undo eth0           the card's own defaults; irqbalance takes over again
#   tuning/nic.sh show eth0
#
# Why: a packet is handled by the core that takes its interrupt. Where that is a worker's own core,
# its data is in the right cache, and no other core is woken. Needs ethtool, and a card with queues.
set -eu

say() { printf '%s\n' "$*"; }
usage() { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64; }

action=${1:-} card=${2:-}
[ -n "$action" ] && [ -n "$card" ] || usage
[ -d "/sys/class/net/$card" ] || { say "there is no network card $card" >&2; exit 1; }
shift 2

irqs() { ls "/sys/class/net/$card/device/msi_irqs" 2>/dev/null || :; }
# a CPU as the hexadecimal mask that /sys takes, in words of 32 bits
mask() {
    words=$(($1 / 32)) word=$(printf '%x' $((1 << ($1 % 32))))
    while [ "$words" -gt 0 ]; do word=$word,00000000 words=$((words - 1)); done
    printf '%s' "$word"
}
online() { # 0-3,8 as a list
    for range in $(tr ',' ' ' </sys/devices/system/cpu/online); do seq "${range%-*}" "${range#*-}"; done
}

case $action in
    apply)
        cpus=${*:-$(online)}
        count=$(printf '%s\n' $cpus | wc -l)
        if command -v systemctl >/dev/null; then systemctl stop irqbalance 2>/dev/null || :; fi
        ethtool -L "$card" combined "$count" || say "the card has fewer queues than $count"
        # the same share of flows for each queue
        ethtool -X "$card" equal "$count" || say "the card has no RSS table"
        set -- $cpus
        for irq in $(irqs); do
            [ -w "/proc/irq/$irq/smp_affinity_list" ] || continue
            printf '%s' "$1" >"/proc/irq/$irq/smp_affinity_list" 2>/dev/null || continue
            first=$1; shift; set -- "$@" "$first"
        done
        set -- $cpus
        for queue in "/sys/class/net/$card/queues"/tx-*; do
            mask "$1" >"$queue/xps_cpus" 2>/dev/null || :
            first=$1; shift; set -- "$@" "$first"
        done
        ;;
    undo)
        ethtool -X "$card" default || :
        for queue in "/sys/class/net/$card/queues"/tx-*; do
            printf 0 >"$queue/xps_cpus" 2>/dev/null || :
        done
        all=$(cat /sys/devices/system/cpu/online)
        for irq in $(irqs); do printf '%s' "$all" >"/proc/irq/$irq/smp_affinity_list" 2>/dev/null || :; done
        if command -v systemctl >/dev/null; then systemctl start irqbalance 2>/dev/null || :; fi
        ;;
    show)
        ethtool -l "$card" 2>/dev/null || :
        for irq in $(irqs); do say "irq $irq: CPU $(cat "/proc/irq/$irq/smp_affinity_list")"; done
        grep . "/sys/class/net/$card/queues"/tx-*/xps_cpus 2>/dev/null || :
        ;;
    *) usage ;;
esac

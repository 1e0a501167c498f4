#!/bin/sh
# Clock and memory pages for even latency. Run as root, at each boot.
#
#   tuning/cpu.sh apply     frequency governor "performance", shallow sleep states, madvise pages
#   tuning/cpu.sh undo      governor "schedutil", all sleep states
#   tuning/cpu.sh show      what is set
#
# Why: a worker sleeps between two events. A core that clocks down or sleeps deeply meanwhile answers
# tens to hundreds of microseconds later. The price is power.
set -eu

cpus=/sys/devices/system/cpu
pages=/sys/kernel/mm/transparent_hugepage/enabled

each() { # FILE VALUE: writes it wherever this machine has such a file
    for file in $1; do
        [ -w "$file" ] && printf '%s' "$2" >"$file" || :
    done
}

case ${1:-show} in
    apply)
        each "$cpus/cpu*/cpufreq/scaling_governor" performance
        # sleep states that take longer than 20 us to leave
        for state in "$cpus"/cpu*/cpuidle/state*; do
            [ -r "$state/latency" ] || continue
            if [ "$(cat "$state/latency")" -gt 20 ]; then each "$state/disable" 1; fi
        done
        each "$pages" madvise
        ;;
    undo)
        each "$cpus/cpu*/cpufreq/scaling_governor" schedutil
        each "$cpus/cpu*/cpuidle/state*/disable" 0
        ;;
    show)
        grep . "$cpus"/cpu*/cpufreq/scaling_governor "$cpus"/cpu*/cpuidle/state*/disable "$pages" \
            2>/dev/null || :
        ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# run.sh MODEL DIR [long]: checks the model, which must hold in each scene, and its broken
# variants, each of which must be rejected for what is wrong with it. Works and logs in DIR.
set -eu
model=$1 dir=$2 long=${3:-}
passed=0 failed=0 opt=0
# To optimize the short ones takes longer than it saves.
[ -z "$long" ] || opt=2

# run NAME EXPECT DEFINITION...: EXPECT is "holds" or "ends", which is searched for by cycles
# without progress too, or what pan has to complain about.
run() {
	name=$1 expect=$2
	shift 2
	mkdir "$dir/$name"
	cd "$dir/$name"
	search=-DSAFETY flags=
	case $expect in
	ends|non-progress) search=-DNP flags=-l ;;
	esac
	if spin -a "$@" "$model" > spin.log 2>&1 &&
			gcc -O$opt -w $search -DNOFAIR -DCOLLAPSE -DMEMLIM=2000 pan.c -o pan \
				>> spin.log 2>&1; then
		./pan -m100000 -w22 $flags > pan.log 2>&1 || true
	else
		cp spin.log pan.log
	fi
	found=$(sed -nE 's/^pan:1: (.*) \(at depth.*/\1/p; s/^spin: *(.*rror.*)/\1/p' pan.log)
	verdict=FAILED
	case $expect in
	holds|ends)
		if grep -q 'errors: 0$' pan.log &&
				! grep -qE 'not completed|too small|reached -DMEMLIM' pan.log; then
			verdict="ok, $expect"
		fi ;;
	*)
		case $found in
		*"$expect"*) verdict="ok, rejected: $expect" ;;
		esac ;;
	esac
	states=$(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1/p' pan.log)
	depth=$(sed -nE 's/.*depth reached ([0-9]+).*/\1/p' pan.log)
	time=$(sed -nE 's/^pan: elapsed time ([0-9.]+) .*/\1/p' pan.log)
	printf '%-22s %9s states, depth %5s, %5s s: %s\n' "$name" "${states:-?}" "${depth:-?}" \
		"${time:-?}" "$verdict"
	if [ "$verdict" = FAILED ]; then
		failed=$((failed + 1))
		echo "  expected: $expect; found: ${found:-nothing}; see $name/pan.log"
	else
		passed=$((passed + 1))
	fi
	# Some of them are large, and made again in no time.
	rm -f pan.? pan
}

# The scenes. Both maps and the owner end at once:
ends="-DFREE_B=1 -DFEWEST=3"
# A program on map B, while map A ends, then the owner and map B's values:
other="-DOPS1=1"
# Two programs, one of them sleepable, make and delete the owner's storage under each other:
turns="-DOPS0=1 -DOPS1=1 -DPROMPT=1 -DFREE_A=0"
# A sleepable program twice on its own; one that only walks past the values of map A, which ends:
twice="-DOPS0=2 -DPROMPT=1 -DFREE_A=0"
walk="-DOPS0=1 -DMAPS0=2 -DPROMPT=1"
# An iterator, a program that deletes what it is at, then the owner's end:
visit="-DOPS1=1 -DVISITORS=1 -DPROMPT=1 -DFEWEST=2 -DFREE_A=0"
# The same and map A ends, but nothing is refused:
visit_map="-DOPS1=1 -DVISITORS=1 -DPROMPT=1 -DNO_REFUSAL"
# Two owners and a map end:
owners="-DOWNERS=2 -DPROMPT=1 -DFEWEST=1 -DMOST=1"

run ends		holds	$ends
run ends_progress	ends	$ends -DPROMPT=1
run ends_no_refusal	holds	$ends -DNO_REFUSAL
run other		holds	$other
run other_progress	ends	$other -DPROMPT=1
run turns		holds	$turns
run turns_no_refusal	ends	$turns -DNO_REFUSAL
run twice		holds	$twice
run walk		holds	$walk
run visit		holds	$visit
run visit_map		holds	$visit_map
run owners		holds	$owners

if [ -n "$long" ]; then
	run long_twice_b	holds	-DOPS1=2
	run long_turns_map	holds	-DOPS0=1 -DOPS1=1 -DPROMPT=1
	run long_turns		holds	-DOPS0=2 -DOPS1=1 -DPROMPT=1 -DFREE_A=0
	run long_visit_map	holds	-DOPS1=1 -DVISITORS=1 -DPROMPT=1 -DFEWEST=2
fi

broken() {
	variant=$1 expect=$2
	shift 2
	run "$(echo "$variant" | tr A-Z a-z)" "$expect" "-DBROKEN_$variant" "$@"
}

broken FREED_WHILE_HASHED	I5_freed_on_list	$ends
broken BOTH_FREE		I1_freed_twice		$ends
broken CLOSED_BY_TWO		I1_freed_twice		$ends
broken SPLICE_IGNORED		I1_freed_twice	$ends
broken DETACHED_IGNORED		I1_freed_twice		$ends
broken STORAGE_POINTER_KEPT	I1_used_after_free	$ends
broken NOT_A_READER		I1_used_after_free	$ends
broken HANDED_OVER_FORGOTTEN	I1_left_over		$ends
broken RETRIED_ON_THE_SPOT	non-progress		$ends
broken COUNTED_OFF_EARLY	I2_record_gone		$ends
broken UNCHARGED_OUTSIDE	I3_owner_gone		$ends
broken POINTER_CLEARED_EARLY	I3_owner_gone		$ends
broken DESTROY_DOES_NOT_WAIT	I3_owner_gone		$ends
broken CHARGED_TWICE		I4_charge		$ends
broken VISITOR_LEFT_INSIDE	I3_owner_gone		$visit
broken ELEM_RCU_ONLY		I1_used_after_free	$turns
broken STORAGE_RCU_ONLY		I1_used_after_free	$turns
broken WALK_NO_READER		I1_used_after_free	$walk
broken FIELDS_FREED_EARLY	I2_fields_left		$turns
broken PUBLISHED_UNLOCKED	I5_not_on_list		$turns
broken LINKED_TO_ABANDONED	I5_freed_on_list		$turns
broken SLOT_LEFT		I5_found_unlinked	$twice

echo "model: $passed passed, $failed failed"
[ "$failed" = 0 ]

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# out/linux: the base, our files over it, patches/ applied. Only what differs is written, so
# that a build after it is an incremental one. git there tracks the files we touch, as the base
# has them under the tag `base`: `git diff base` shows what we are.
. "$(dirname "$0")/lib.sh"
check_vars
BASE=$("$HERE/toolbox.sh")
lock "$OUT/.tree.lock"
TREE=$OUT/linux
NEXT=$OUT/.tree.next
id=$BASE
[[ -n $LINUX ]] || check_tree "$BASE" "V=$V"

if [[ -n $LINUX ]]; then
	# An own tree may change under us and may have been built in; it is never written to.
	id="own $LINUX"
	mkdir -p "$OUT/base"
	[[ $(cat "$OUT/base.id" 2> /dev/null) == "$id" ]] || {
		need_disk "$OUT" 8
		say "copying $LINUX"
	}
	box "$LINUX" "" rsync -a --delete --exclude=/.git --exclude=/out --exclude=/.config \
		--exclude=/vmlinux --exclude='*.o' --exclude='*.ko' --exclude='*.a' \
		--exclude='.*.cmd' --exclude=/include/config --exclude=/include/generated \
		--exclude='/arch/*/include/generated' /linux/ /out/base/ ||
		die "cannot copy $LINUX"
	echo "$id" > "$OUT/base.id"
	BASE=$OUT/base
fi

if [[ $(cat "$TREE/.base-id" 2> /dev/null) != "$id" ]]; then
	need_disk "$OUT" 8
	say "copying the base to out/linux"
	rm -rf "$TREE" "$TREE.new"
	cp -a --reflink=auto "$BASE" "$TREE.new"
	git init -q "$TREE.new"
	echo '*' > "$TREE.new/.git/info/exclude"
	echo "$id" > "$TREE.new/.base-id"
	rm -f "$OUT/.tree.touched"
	mv "$TREE.new" "$TREE"
elif [[ -n $LINUX ]]; then
	# Not what we touched, nor folders that are only ours.
	while read -r f; do
		echo "/$f"
		[[ -d $BASE/${f%/*} ]] || echo "/${f%/*}/"
	done < <(cat "$OUT/.tree.touched" 2> /dev/null || true) > "$OUT/.tree.exclude"
	box "" "" rsync -a --delete --exclude=/.git --exclude=/.base-id \
		--exclude-from=/out/.tree.exclude /out/base/ /out/linux/
fi

# 1. What the touched files must look like, beside the tree.
rm -rf "$NEXT"
mkdir -p "$NEXT"
cd "$REPO"
ours=$(find include kernel net tools Documentation -type f ! -name '.*' ! -name '*.pyc' \
	! -name '*~' 2> /dev/null || true)
patches=$(ls patches/*.patch 2> /dev/null || true)
patched=$([[ -z $patches ]] || sed -n 's,^\(+++\|---\) [ab]/\([^[:space:]]*\).*,\2,p' $patches)
touched=$(printf '%s\n' $ours $patched MAINTAINERS | sort -u)
for f in $touched; do
	if [[ -f $REPO/$f && $f != MAINTAINERS ]]; then
		install -D -m "$(stat -c %a "$REPO/$f")" "$REPO/$f" "$NEXT/$f"
	elif [[ -f $BASE/$f ]]; then
		install -D -m "$(stat -c %a "$BASE/$f")" "$BASE/$f" "$NEXT/$f"
	fi
done
for p in $patches; do
	apply "$NEXT" "$p" || die "$p does not apply to $BASE: see $OUT/patch.log"
done
# Our entry goes in before the first one that sorts after it.
[[ ! -f MAINTAINERS ]] || awk -v entry="$(cat MAINTAINERS)" '
	BEGIN {
		n = split(entry, l, "\n")
		for (i = 1; i <= n && !title; i++)
			if (l[i] ~ /^[A-Z0-9][^:]*$/) { title = l[i]; first = i }
		for (i = first; i <= n; i++)
			text = text l[i] "\n"
		sub(/\n+$/, "\n", text)
	}
	/^3C59X/ { on = 1 }
	on && !done && /^[A-Z0-9][^:\t]*$/ && $0 > title { printf "%s\n", text; done = 1 }
	{ print }
	END { if (!done) printf "\n%s", text }' "$BASE/MAINTAINERS" > "$NEXT/MAINTAINERS"

# 2. Put back what is no longer ours, then write what differs.
changed=0
for f in $(cat "$OUT/.tree.touched" 2> /dev/null || true) $touched; do
	if [[ -f $NEXT/$f ]]; then
		cmp -s "$NEXT/$f" "$TREE/$f" || {
			rm -f "$TREE/$f"
			install -D -m "$(stat -c %a "$NEXT/$f")" "$NEXT/$f" "$TREE/$f"
			changed=$((changed + 1))
		}
	elif [[ -f $BASE/$f ]]; then
		# Without the base's old mtime: make must see that the file changed.
		cmp -s "$BASE/$f" "$TREE/$f" || { cp "$BASE/$f" "$TREE/$f"; changed=$((changed + 1)); }
	elif [[ -f $TREE/$f ]]; then
		rm -f "$TREE/$f"
		changed=$((changed + 1))
	fi
done

# 3. git: the base's versions of the touched files, tagged; ours added but not committed.
git=(git -C "$TREE" -c user.name=base -c user.email=base@localhost -c core.autocrlf=false)
if [[ -n $LINUX || $touched != "$(cat "$OUT/.tree.touched" 2> /dev/null)" ]] ||
		! "${git[@]}" rev-parse -q --verify base > /dev/null; then
	rm -f "$TREE/.git/index"
	for f in $touched; do [[ ! -f $BASE/$f ]] || echo "$f"; done |
		"${git[@]}" --work-tree="$BASE" --git-dir="$TREE/.git" -C "$BASE" \
			add -f --pathspec-from-file=-
	"${git[@]}" commit -q --amend --allow-empty -m "The base's version of what we touch" \
		2> /dev/null ||
		"${git[@]}" commit -q --allow-empty -m "The base's version of what we touch"
	"${git[@]}" tag -f base > /dev/null
fi
echo "$touched" > "$OUT/.tree.touched"
for f in $touched; do [[ ! -f $TREE/$f ]] || echo "$f"; done |
	"${git[@]}" add -f --pathspec-from-file=-
rm -rf "$NEXT"
say "out/linux: $("${git[@]}" diff --shortstat base | sed 's/^ //'); $changed written just now"

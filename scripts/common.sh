# SPDX-License-Identifier: MPL-2.0
#
# Functions that several scripts in this folder share. They source this file.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
work=''  # a temporary folder, if the script has made one
child='' # the process that run has started

say() { printf 'scripts/%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# missing MESSAGE ends a script because a program that it needs is missing. Callers then skip tests.
missing() { say "$*"; exit 3; }

# on_exit COMMAND runs a command when the script ends, even by a signal.
on_exit() {
	# shellcheck disable=SC2064 # the command is a constant
	trap "$1" EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

# make_work makes a temporary folder in bin/, which the end of the script removes.
make_work() {
	mkdir -p "$root/bin"
	on_exit clean_up
	work=$(mktemp -d "$root/bin/.work.XXXXXX")
}

# download_packages NAME... downloads packages of Debian or Ubuntu into a temporary folder, which
# becomes the working directory. The packages are not installed.
download_packages() {
	command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return
	make_work
	chmod 755 "$work" # apt-get downloads as another user
	cd "$work" || return
	local apt=(apt-get -qq -o Acquire::Retries=3)
	"${apt[@]}" download "$@" >/dev/null 2>&1 ||
		{ "${apt[@]}" update && "${apt[@]}" download "$@"; } >/dev/null 2>&1
}

# clean_up stops the process that run has started, and removes the temporary folder.
clean_up() {
	if [[ -n $child ]]; then
		kill "$child" 2>/dev/null || true
		wait "$child" 2>/dev/null || true
	fi
	[[ -z $work ]] || rm -rf "$work"
}

# run FORMAT COMMAND... runs a command and shows its progress. FORMAT describes what the command
# does. A %d in FORMAT is replaced by the number of lines that the command has printed. If the command
# fails, run shows the end of its output and ends the script.
run() {
	local format=$1 every=20 next shown=''
	shift
	if [[ -t 2 ]]; then every=1; fi
	"$@" >"$work/output" 2>&1 </dev/null &
	child=$!
	SECONDS=0
	next=$every
	while kill -0 "$child" 2>/dev/null; do
		sleep 1
		if ((SECONDS >= next)); then
			progress "$format"
			shown=yes
			next=$((SECONDS + every))
		fi
	done
	if [[ -n $shown && -t 2 ]]; then printf '\n' >&2; fi
	if ! wait "$child"; then
		child=''
		grep -v '^go: downloading' "$work/output" | tail -n 20 >&2 || true
		die "failed: $*"
	fi
	child=''
}

progress() {
	local line
	# shellcheck disable=SC2059 # the format is a parameter
	line=$(printf "$1" "$(wc -l <"$work/output")")
	if [[ -t 2 ]]; then
		printf '\r  %s (%d:%02d) ' "$line" $((SECONDS / 60)) $((SECONDS % 60)) >&2
	else
		say "$line ($SECONDS s)"
	fi
}

sha256() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

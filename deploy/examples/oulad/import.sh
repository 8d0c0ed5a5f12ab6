#!/bin/sh
# Hands in a folder of OULAD files as a course provider would: prepared into two CSV files, then imported.
set -eu
umask 077

usage() {
    cat <<'TEXT'
usage: import.sh FOLDER [--until DAY] [--end-on DATE]

Prepares the OULAD files in FOLDER (courses, enrolments, activity; .csv or .csv.gz) and imports them into the
Lotse that is running (`./lotse up`): first the participations, then the attendance. Running it again with the
same options changes nothing; with others it wants a stack of its own (`./lotse up --ephemeral`).

  --until DAY     hand in what was known on day DAY of each run, that day included
  --end-on DATE   move all dates so that the last day of what is handed in falls on DATE (2026-01-31)

Exit: as `lotse import`, or as prepare.py if the files cannot be prepared (1), or 2 for a wrong call.
TEXT
}

case "${1-}" in
    -h | --help) usage; exit 0 ;;
    "" | -*) usage >&2; exit 2 ;;
esac

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../../.." && pwd)
if [ ! -d "$1" ]; then
    echo "import.sh: $1 is not a folder. Give the folder that holds the OULAD files." >&2
    exit 2
fi
folder=$(CDPATH='' cd -- "$1" && pwd)
shift

files=$(mktemp -d "${TMPDIR:-/tmp}/lotse-oulad.XXXXXX")
ended() {
    status=$?
    trap - EXIT
    if [ "$status" -eq 0 ] || [ ! -e "$files/attendance.csv" ]; then
        rm -rf -- "$files"
    else
        echo "import.sh: not all went in; the files are kept in $files, and row numbers above are theirs" >&2
    fi
    exit "$status"
}
trap ended EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"${PYTHON:-python3}" "$here/prepare.py" "$folder" "$files" "$@"
cd -- "$root"
partly=0
./lotse import participations "$files/participations.csv" --mapping "$here/participations.toml" || partly=$?
[ "$partly" -eq 0 ] || [ "$partly" -eq 5 ] || exit "$partly"   # 5: some rows were refused; the others' attendance goes in
./lotse import attendance "$files/attendance.csv" --mapping "$here/attendance.toml"
exit "$partly"

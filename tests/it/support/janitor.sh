# Cleans up after a test process. Run by `lifetime.rs` with bash:
#   janitor wait  FOLDER   waits until the test process is gone (end of stdin), then cleans up
#   janitor sweep FOLDER   cleans up at once, after a test process or one of its hosts
# FOLDER is the test process's own or a host's; its cgroups have its base name, or begin with that.
# Each line on stdin is "+ group PGID", "+ daemon PID", or the same with "-" when that has ended.
set -u
trap '' INT TERM HUP QUIT PIPE
task=$1 folder=$2 name=${2##*/}
case $name in runbook-it-*) ;; *) echo "not a folder of a test process: $folder" >&2; exit 2 ;; esac

# Pauses without a process: a read from a pipe that nobody writes to.
exec {never}<> <(:)
pause() { read -r -t 0.02 -u "$never" _; }

# Whether a process runs. One that nobody has reaped yet does not.
runs() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  [[ ${stat##*) } != Z* ]]
}

declare -A left=()
if [[ $task == wait ]]; then
  while read -r sign kind id; do
    if [[ $sign == + ]]; then left[$id]=$kind; else unset "left[$id]"; fi
  done
fi

for id in "${!left[@]}"; do
  case ${left[$id]} in
    group) kill -KILL -- "-$id" 2>/dev/null ;;
    daemon) kill -CONT $(pgrep -P "$id") "$id" 2>/dev/null ;;
  esac
done

# A server that got its parent-death signal needs a moment for an orderly end.
for id in "${!left[@]}"; do
  [[ ${left[$id]} == daemon ]] || continue
  for ((i = 0; i < 350; i++)); do
    runs "$id" || break
    pause
  done
  kill -KILL "$id" 2>/dev/null
done

# What else is of the folder, by its command line or working directory: servers that were stopped when
# they should have ended, and strays of runs.
{
  grep -lsF "$folder/" /proc/[0-9]*/cmdline
  find /proc/[0-9]*/cwd -maxdepth 0 -lname "$folder/*" 2>/dev/null
} | cut -d / -f 3 | while read -r pid; do kill -KILL "$pid" 2>/dev/null; done

# Hosts: their processes, then their cgroups bottom-up, then what is mounted in the folder.
for group in /sys/fs/cgroup/{,*/}"$name"{,-*}; do
  [[ -d $group ]] || continue
  for ((i = 0; i < 250; i++)); do
    find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | while read -r pid; do
      kill -KILL "$pid" 2>/dev/null
    done
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null
    [[ -d $group ]] || break
    pause
  done
done
while read -r _ place _; do
  case $place in "$folder" | "$folder"/*) echo "$place" ;; esac
done </proc/mounts | tac | while read -r place; do umount -l "$place"; done

rm -rf --one-file-system "$folder"
[[ ! -e $folder ]]

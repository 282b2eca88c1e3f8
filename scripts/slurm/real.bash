# To be sourced by the programs here, which stand before SLURM's own on the PATH.

real() { # NAME: print the path of SLURM's own program
    local folder here
    here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
    while read -r folder; do
        [ "$folder" = "$here" ] || [ ! -x "$folder/$1" ] || { echo "$folder/$1"; return; }
    done < <(tr ':' '\n' <<<"$PATH")
    echo "$1: error: command not found" >&2
    return 127
}

# Prints what a TAB behind the given line completes, in a bash without the package bash-completion.
source <(etcdctl completion bash)
compopt() { :; } # changes a completion in progress: there is none
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
read -r -a COMP_WORDS <<<"${1//=/ = }"
[[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
$(complete -p etcdctl | sed 's/.*-F \([^ ]*\).*/\1/')
printf '%s\n' "${COMPREPLY[@]}"

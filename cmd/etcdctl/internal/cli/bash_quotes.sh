
# cobra's functions complete a word as it was typed, and not one with quotes. The functions below
# give them the word without its quotes, and quote the completions again. Readline replaces what
# stands behind an open quote or, if all quotes are closed, the word. Variables of __start_etcdctl:
#
#     quoted   1 if the word has quotes
#     state    the quote that is open at the cursor, or empty
#     kept     the text before the open quote, without quotes
#     tail     what was typed behind the last quote
__etcdctl_remove_quotes()
{
    local i c text=
    for ((i = 0; i < ${#cur}; i++)); do
        c=${cur:i:1}
        case $state:$c in
        \':\' | \":\") state= kept= tail=${cur:i+1} ;;
        \':*) text+=$c ;;
        \":\\)
            [[ ${cur:i+1:1} == [\\\"\$\`] ]] && ((i++))
            text+=${cur:i:1}
            ;;
        *:[\$\`]) # a variable or a command, whose value is not known
            state= kept= tail= quoted=
            return
            ;;
        \":*) text+=$c ;;
        :[\'\"]) state=$c kept=$text quoted=1 ;;
        :\\)
            ((i++))
            text+=${cur:i:1}
            ;;
        *) text+=$c ;;
        esac
    done
    [[ $quoted ]] || return
    cur=
    [[ $text ]] && printf -v cur %q "$text"
    words[cword]=$cur
}

__etcdctl_restore_quotes()
{
    local i text
    for i in "${!COMPREPLY[@]}"; do
        text=${COMPREPLY[i]}
        # cobra's functions quote a single completion, and those that are inserted in turn. The
        # backslashes are removed by read, and not by eval: keys are other users' texts.
        if [[ ${#COMPREPLY[@]} == 1 || $COMP_TYPE == 37 || $COMP_TYPE == 42 ]]; then
            [[ $text == \$\'* ]] && continue # quoted in the other way, as in a locale without UTF-8
            IFS= read text <<<"$text"
        fi
        text=${text#"$kept"}
        case $state in
        \') text=${text//\'/\'\\\'\'} ;;
        \")
            text=${text//\\/\\\\} text=${text//\"/\\\"}
            text=${text//\$/\\\$} text=${text//\`/\\\`}
            ;;
        *) printf -v text %q "$text" ;;
        esac
        COMPREPLY[i]=$text
    done
}

eval "__etcdctl_words$(declare -f __etcdctl_get_completion_results)"
__etcdctl_get_completion_results()
{
    __etcdctl_remove_quotes
    __etcdctl_words__etcdctl_get_completion_results
}

eval "__etcdctl_words$(declare -f __etcdctl_handle_special_char)"
__etcdctl_handle_special_char()
{
    # Readline does not end a word at the character if it is quoted.
    [[ $quoted && ( $state || $tail != *"$2"* ) ]] || __etcdctl_words__etcdctl_handle_special_char "$@"
}

eval "__etcdctl_words$(declare -f __start_etcdctl)"
__start_etcdctl()
{
    local state= kept= tail= quoted=
    __etcdctl_words__start_etcdctl "$@"
    [[ $quoted ]] && ((${#COMPREPLY[@]} > 0)) && __etcdctl_restore_quotes
}

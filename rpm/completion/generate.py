"""The completion for bash, made of the command line's own parser.

`make completion` writes it to rpm/completion/xsisolate, and no host gets this program. Nothing of
the completion is written by hand, and a test compares the two. VM names come from this host's
xenstore when a key is pressed.
"""
import argparse
import sys
from typing import Dict, Iterator, List

from xsisolate.cli import build_parser

VM_METAVARS = ('VM', 'SRC', 'DST')
FILE_METAVARS = ('FILE',)
BRIDGE_METAVARS = ('B', 'BRIDGE')

HEAD = r'''# bash completion for xsisolate: `make completion` makes it of the parser, do not edit.

# The names of this host's VMs that need no escaping; others can be written as uuid or domid.
_xsisolate_vms() {
    local domid paths=()
    for domid in $(xenstore-list /local/domain 2>/dev/null); do
        [ "$domid" = 0 ] || paths+=("/local/domain/$domid/name")
    done
    [ ${#paths[@]} -eq 0 ] || xenstore-read "${paths[@]}" 2>/dev/null \
        | LC_ALL=C grep -x '[A-Za-z0-9._+@:-]\{1,64\}'
}

_xsisolate_bridges() {
    ovs-vsctl --timeout=2 list-br 2>/dev/null | LC_ALL=C grep -x '[A-Za-z0-9._-]\{1,64\}'
}

_xsisolate() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
    local command= word options= kind=
    COMPREPLY=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        case $word in -*) continue ;; esac
        command=${command:+$command }$word
        [ "$command" = pool ] || break
    done
    case $command in
'''
TAIL = r'''    esac
    case $current in
    -*) kind=options ;;
    esac
    case $kind in
    options) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
    words) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    vms) COMPREPLY=($(compgen -W "$(_xsisolate_vms)" -- "$current")) ;;
    bridges) COMPREPLY=($(compgen -W "$(_xsisolate_bridges)" -- "$current")) ;;
    files)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames 2>/dev/null ;;
    esac
}

complete -F _xsisolate xsisolate
'''


def make_completion() -> str:
    """Return the completion's text."""
    parser = build_parser()
    lines = _cases('', parser)
    return HEAD.replace('options= kind=', "options= words= kind=") + '\n'.join(lines) + '\n' + TAIL


def _cases(name: str, parser: argparse.ArgumentParser) -> List[str]:
    """Return the lines that complete a command; one that has commands below it offers these."""
    below = find_commands(parser)
    if not below:
        return list(_case(name, parser))
    lines = ["    '%s') options='%s' words='%s' kind=words ;;" % (
        name, ' '.join(find_flags(parser)), ' '.join(sorted(below)))]
    for word, command in sorted(below.items()):
        lines += _cases((name + ' ' + word).strip(), command)
    return lines


def find_commands(parser: argparse.ArgumentParser) -> Dict[str, argparse.ArgumentParser]:
    """Return the parsers of all commands by name."""
    return {name: command for action in parser._actions
            if isinstance(action, argparse._SubParsersAction)
            for name, command in action.choices.items()}


def find_flags(parser: argparse.ArgumentParser) -> List[str]:
    """Return all flags of a parser, in order."""
    return sorted({flag for action in parser._actions for flag in action.option_strings})


def _case(name: str, command: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the lines that complete one command."""
    positional = [action for action in command._actions if not action.option_strings]
    kind = 'kind=options' if not positional else _value(positional[0])
    yield "    '%s')" % name if ' ' in name else '    %s)' % name
    yield "        options='%s' %s" % (' '.join(find_flags(command)), kind)
    valued = [action for action in command._actions if action.option_strings and action.nargs != 0]
    if valued or len(positional) > 1:
        yield '        case $previous in'
        if len(positional) > 1 and positional[0].choices:
            yield '        %s) %s ;;' % ('|'.join(positional[0].choices), _value(positional[1]))
        for action in valued:
            yield '        %s) %s ;;' % ('|'.join(action.option_strings), _value(action))
        yield '        esac'
    yield '        ;;'


def _value(action: argparse.Action) -> str:
    if action.choices:
        return "words='%s' kind=words" % ' '.join(map(str, action.choices))
    return 'kind=' + _kind(action)


def _kind(action: argparse.Action) -> str:
    """Return what may stand where an argument does."""
    metavar = action.metavar if isinstance(action.metavar, str) else ''
    word = metavar.split('/')[0].split('[')[0]
    for known, kind in ((VM_METAVARS, 'vms'), (FILE_METAVARS, 'files'),
                        (BRIDGE_METAVARS, 'bridges')):
        if word in known:
            return kind
    return 'none'


if __name__ == '__main__':
    sys.stdout.write(make_completion())

# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# The command line. Short options are those of the tool that Octavia's operators know; every one has
# a long name as well.

ARCH=amd64
DISTRIBUTION="debian-minimal"
RELEASE=trixie
KERNEL="linux-image-cloud-amd64"
SIZE_GB=2
TYPE=qcow2
OUTPUT=
LOG_OPTION=
ROOT_PASSWORD=
WORKING_DIR=${TMPDIR:-/var/tmp}
SSH=yes
TRACE=no
DRY_RUN=no
MIRROR=${DIB_DISTRIBUTION_MIRROR:-}
SECURITY_MIRROR=${DIB_DEBIAN_SECURITY_MIRROR:-}

# short|long|argument|text; a text of "-" marks what the original tool has and this one not yet.
# shellcheck disable=SC2016  # $TMPDIR is part of the text
OPTION_TABLE='
a|arch|ARCH|architecture of the image: amd64
d|release|RELEASE|release of the distribution: trixie
i|distribution|NAME|distribution of the image: debian-minimal
k|kernel|PACKAGE|kernel package (default: linux-image-cloud-amd64)
l|log-file|FILE|log file (default: beside the image, with the ending .log)
n|no-ssh||no ssh server in the image
o|output|FILE|image file; the ending of its type is added when it has another one (default: amphora-x64-haproxy.qcow2 in the current directory)
r|root-password|PASSWORD|password of root, for debugging on the console (default: none)
s|size|GB|size of the disk in GB (default: 2)
t|type|TYPE|qcow2, raw, vhd or tar (default: qcow2)
w|working-dir|DIR|where temporary files go, about 2 GB (default: $TMPDIR or /var/tmp)
x|trace||log every command of the build
h|help||show this help
v|version||show the version
|mirror|URL|mirror of the distribution (default: as in the APT configuration of this host)
|security-mirror|URL|mirror of its security updates (default: as above)
|dry-run||show the disk-image-create command and its environment, and change nothing
b|backend|NAME|-
c|cache-dir|DIR|-
e|mandatory-access-control||-
f|no-tmpfs||-
g|git-branch|NAME|-
m|cpu-pinning||-
p|agent-package||-
y|fips||-
'

readonly MAX_SIZE_GB=2048

# show_help: from the table.
show_help() {
    local short long argument text
    printf 'Usage: %s [OPTION]...\n\nMake an amphora image for OpenStack Octavia.\n\n' "$PROGRAM"
    while IFS='|' read -r short long argument text; do
        [[ -n $long && $text != - ]] || continue
        printf '  %-3s --%s\n' "${short:+-$short,}" "$long${argument:+ $argument}"
        fold -s -w 70 <<< "$text" | sed 's/^/           /'
    done <<< "$OPTION_TABLE"
    printf '\nThe environment variables DIB_DISTRIBUTION_MIRROR and DIB_DEBIAN_SECURITY_MIRROR\n'
    printf 'stand for the two mirror options.\n'
}

# option_row NAME: the row of the table with this short or long name, or nothing.
option_row() {
    local row short long rest
    while IFS= read -r row; do
        IFS='|' read -r short long rest <<< "$row"
        if [[ -n $long && ($1 == "$long" || $1 == "$short") ]]; then
            printf '%s\n' "$row"
            return
        fi
    done <<< "$OPTION_TABLE"
}

# parse_options ARGUMENT...: sets the variables above.
parse_options() {
    local shown name value row short long argument text spec
    spec=$(while IFS='|' read -r short long argument text; do
        printf '%s' "$short${short:+${argument:+:}}"
    done <<< "$OPTION_TABLE")
    OPTIND=1
    while getopts ":$spec-:" name; do
        case $name in
            -)
                name=${OPTARG%%=*}
                shown=--$name
                row=$(option_row "$name")
                [[ -n $row && ${#name} -gt 1 ]] || die_usage "unknown option $shown"
                IFS='|' read -r short long argument text <<< "$row"
                value=
                if [[ $OPTARG == *=* ]]; then
                    [[ -n $argument ]] || die_usage "option $shown takes no value"
                    value=${OPTARG#*=}
                elif [[ -n $argument ]]; then
                    ((OPTIND <= $#)) || die_usage "option $shown needs a value: $argument"
                    value=${!OPTIND}
                    ((OPTIND += 1))
                fi
                ;;
            :)
                row=$(option_row "$OPTARG")
                IFS='|' read -r short long argument text <<< "$row"
                die_usage "option -$OPTARG needs a value: $argument"
                ;;
            '?')
                die_usage "unknown option -$OPTARG"
                ;;
            *)
                shown=-$name
                value=${OPTARG:-}
                row=$(option_row "$name")
                IFS='|' read -r short long argument text <<< "$row"
                ;;
        esac
        [[ $text != - ]] || die_usage "option -$short (--$long) is not available yet"
        set_option "$long" "$value" "$shown"
    done
    shift $((OPTIND - 1))
    (($# == 0)) || die_usage "unexpected argument '$1'"
}

# set_option LONG_NAME VALUE NAME_AS_GIVEN
set_option() {
    local value=$2 shown=$3
    case $1 in
        arch) ARCH=$value ;;
        release) RELEASE=$value ;;
        distribution) DISTRIBUTION=$value ;;
        kernel) KERNEL=$value ;;
        log-file) LOG_OPTION=$value ;;
        no-ssh) SSH=no ;;
        output) OUTPUT=$value ;;
        root-password)
            [[ -n $value && $value != *$'\n'* ]] || die_usage "$shown needs a password of one line"
            ROOT_PASSWORD=$value
            ;;
        size) SIZE_GB=$value ;;
        type) TYPE=$value ;;
        working-dir) WORKING_DIR=$value ;;
        trace) TRACE=yes ;;
        mirror) MIRROR=$value ;;
        security-mirror) SECURITY_MIRROR=$value ;;
        dry-run) DRY_RUN=yes ;;
        help)
            show_help
            exit 0
            ;;
        version)
            printf '%s %s\n' "$PROGRAM" "$(project_version)"
            exit 0
            ;;
        *) die "option $shown is in the table but has no effect" ;;
    esac
}

# check_options: ends the program at the first bad value; then makes the paths absolute.
check_options() {
    case $ARCH in
        amd64) ;;
        arm64 | aarch64 | armhf | ppc64le) die_usage "-a $ARCH is not available yet; amd64 is" ;;
        *) die_usage "-a must be amd64, not '$ARCH'" ;;
    esac
    case $DISTRIBUTION in
        debian-minimal) ;;
        ubuntu | ubuntu-minimal | fedora | centos | centos-minimal | rhel | rocky)
            die_usage "-i $DISTRIBUTION is not available yet; debian-minimal is"
            ;;
        *) die_usage "-i must be debian-minimal, not '$DISTRIBUTION'" ;;
    esac
    [[ $RELEASE == trixie ]] || die_usage "-d must be trixie (Debian 13), not '$RELEASE'"
    [[ $KERNEL =~ ^linux-image-[a-z0-9][a-z0-9.+-]*$ ]] \
        || die_usage "-k must be the name of a kernel package such as linux-image-cloud-amd64, not '$KERNEL'"
    [[ $SIZE_GB =~ ^[1-9][0-9]{0,3}$ && $SIZE_GB -le $MAX_SIZE_GB ]] \
        || die_usage "-s must be a whole number of GB from 1 to $MAX_SIZE_GB, not '$SIZE_GB'"
    case $TYPE in
        qcow2 | raw | vhd | tar) ;;
        *) die_usage "-t must be qcow2, raw, vhd or tar, not '$TYPE'" ;;
    esac
    check_url --mirror "$MIRROR"
    check_url --security-mirror "$SECURITY_MIRROR"
    [[ -d $WORKING_DIR && -w $WORKING_DIR ]] \
        || die_usage "-w $WORKING_DIR is not a directory that can be written to"
    WORKING_DIR=$(realpath -- "$WORKING_DIR")
    OUTPUT=${OUTPUT:-$PWD/amphora-x64-haproxy.$TYPE}
    [[ $OUTPUT == *."$TYPE" ]] || OUTPUT+=.$TYPE
    OUTPUT=$(absolute_file --output "$OUTPUT")
    LOG_FILE=$(absolute_file --log-file "${LOG_OPTION:-${OUTPUT%.*}.log}")
}

# check_url NAME VALUE: empty is as good as absent.
check_url() {
    [[ -z $2 || $2 =~ ^https?://[^[:space:]]+$ ]] \
        || die_usage "$1 must be an http or https URL, not '$2'"
}

# absolute_file OPTION PATH: prints the path of a file in an existing directory.
absolute_file() {
    local directory
    directory=$(dirname -- "$2")
    [[ -d $directory && -w $directory ]] \
        || die_usage "$1 $2: $directory is not a directory that can be written to"
    [[ ! -d $2 ]] || die_usage "$1 $2 is a directory; name a file in it"
    printf '%s/%s\n' "$(realpath -- "$directory")" "$(basename -- "$2")"
}

project_version() {
    sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$PROJECT_DIR/amphora_agent/__init__.py"
}

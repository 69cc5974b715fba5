# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Finds the mirrors that this host uses itself, so that nobody has to name one, and this project does
# not. Formats: sources.list(5), both styles, and the mirror lists of apt-transport-mirror(1).

# apt_entries ROOT: one line "URI SUITE COMPONENT..." for each enabled binary archive.
apt_entries() {
    local file
    for file in "$1/etc/apt/sources.list" "$1"/etc/apt/sources.list.d/*.list; do
        [[ ! -f $file ]] || one_line_entries < "$file"
    done
    for file in "$1"/etc/apt/sources.list.d/*.sources; do
        [[ ! -f $file ]] || deb822_entries < "$file"
    done
}

# deb [option=value ...] URI SUITE COMPONENT...
one_line_entries() {
    sed -E -n -e 's/#.*//' \
        -e 's/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]*)?([^[:space:]].*)$/\2/p'
}

# Stanzas of "Field: values", with continued lines; a stanza is every URI with every suite.
deb822_entries() {
    awk '
        function flush(    i, j, uris, suites, nuris, nsuites) {
            if ((" " value["types"] " ") ~ / deb / && tolower(value["enabled"]) !~ /^ *(no|false|0|off) *$/) {
                nuris = split(value["uris"], uris)
                nsuites = split(value["suites"], suites)
                for (i = 1; i <= nuris; i++)
                    for (j = 1; j <= nsuites; j++)
                        print uris[i], suites[j], value["components"]
            }
            delete value
            field = ""
        }
        /^#/ { next }
        /^[[:space:]]*$/ { flush(); next }
        /^[[:space:]]/ { value[field] = value[field] " " $0; next }
        {
            field = tolower(substr($0, 1, index($0, ":") - 1))
            value[field] = substr($0, index($0, ":") + 1)
        }
        END { flush() }
    '
}

# resolve_mirror_list ROOT URI: the first mirror of a mirror+file: list, other URIs as they are.
resolve_mirror_list() {
    local path
    case $2 in
        mirror+file:*)
            path=/${2#mirror+file:}
            # A line may go on with properties of the mirror, after a tab.
            sed -E -n '/^[[:space:]]*(#|$)/d; s/^[[:space:]]*([^[:space:]]+).*/\1/p; q' \
                "$1/${path##*//}" 2>/dev/null || true
            ;;
        *) printf '%s\n' "$2" ;;
    esac
}

# host_mirrors ROOT: the mirror and the security mirror, a line each, of a Debian host whose root
# directory is ROOT. A line is empty when there is none.
host_mirrors() {
    local id='' codename='' uri suite components mirror='' fallback='' security=''
    id=$(os_release "$1" ID)
    codename=$(os_release "$1" VERSION_CODENAME)
    if [[ $id == debian ]]; then
        while read -r uri suite components; do
            [[ " $components " == *' main '* ]] || continue
            uri=$(resolve_mirror_list "$1" "$uri")
            [[ $uri =~ ^https?:// ]] || continue
            uri=${uri%/}
            case $suite in
                "$codename"-security | "$codename"/updates | stable-security | oldstable-security)
                    security=${security:-$uri}
                    ;;
                "$codename" | stable | oldstable | testing | unstable | sid)
                    # Other vendors name their archives after the release as well, but seldom
                    # "debian" alone.
                    if [[ $uri =~ /debian(/[0-9TZ]+)?$ ]]; then
                        mirror=${mirror:-$uri}
                    else
                        fallback=${fallback:-$uri}
                    fi
                    ;;
            esac
        done < <(apt_entries "$1")
    fi
    printf '%s\n%s\n' "${mirror:-$fallback}" "$security"
}

# os_release ROOT NAME: a value of os-release(5).
os_release() {
    sed -n "s/^$2=//p" "$1/etc/os-release" 2>/dev/null | tr -d "\"'" || true
}

# choose_mirrors ROOT: sets MIRROR and SECURITY_MIRROR where options and environment did not.
choose_mirrors() {
    local found missing=()
    if [[ -z $MIRROR || -z $SECURITY_MIRROR ]]; then
        mapfile -t found < <(host_mirrors "$1")
        MIRROR=${MIRROR:-${found[0]}}
        SECURITY_MIRROR=${SECURITY_MIRROR:-${found[1]}}
    fi
    [[ -n $MIRROR ]] || missing+=(--mirror)
    [[ -n $SECURITY_MIRROR ]] || missing+=(--security-mirror)
    if ((${#missing[@]})); then
        die "this host's APT configuration names no Debian mirror for ${missing[*]};
give a URL: $(printf '%s http://HOST/PATH ' "${missing[@]}")" 2
    fi
}

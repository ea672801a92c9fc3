# Holds every #include against the order of the rooms, which CMakeLists.txt defines: shoal_room(NAME NEEDS room... [TORCH]).
# Usage: awk -f rooms.awk CMakeLists.txt FILE...   Prints FILE:LINE: reason.
# With -v edges=FILE it also writes every include between files as a pair of lines for tsort, which finds circles.

function say(reason) { print FILENAME ":" FNR ": " reason }

# "shoal_room(net NEEDS base LINK ...)", which may go on over several lines
function define_room(text,    words, count, i, part, name, room) {
    gsub(/[()]/, " ", text)
    count = split(text, words, " ")
    name = words[2]
    known[name] = 1
    sees[name, name] = 1
    for (i = 3; i <= count; i++) {
        if (words[i] ~ /^(NEEDS|LINK|TORCH)$/) {
            part = words[i]
            if (part == "TORCH") torch[name] = 1
        } else if (part == "NEEDS") {
            if (!(words[i] in known)) say("room " name " needs " words[i] ", which is not defined above it")
            for (room in known) if (sees[words[i], room]) sees[name, room] = 1
        }
    }
}

FNR == NR {
    line = $0
    sub(/#.*/, "", line)
    if (line ~ /^ *shoal_room\(/) definition = ""
    else if (definition == "") next
    definition = definition " " line
    if (line ~ /\)/) {
        define_room(definition)
        definition = ""
    }
    next
}

FNR == 1 {
    own = ""
    if (match(FILENAME, /src\/shoal\/[a-z_]+\//)) {
        own = substr(FILENAME, RSTART + 10, RLENGTH - 11)
        if (!(own in known)) say("room " own " is not defined in CMakeLists.txt")
    }
    root = FILENAME
    sub(/src\/shoal\/.*/, "src/", root)
}

/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
    target = $0
    sub(/^[^<"]*[<"]/, "", target)
    sub(/[>"].*/, "", target)
    if (target == "torch/torch.h" || target == "torch/all.h") {
        say(target " takes half a minute to compile; include the few headers that are needed")
    }
    if (own == "") next
    if (target ~ /^(torch|ATen|c10|caffe2)\// && !torch[own]) say("room " own " must not include libtorch's " target)
    if (target ~ /^shoal\/proto\//) next
    if (target ~ /^shoal\//) {
        split(target, parts, "/")
        room = parts[2]
        if (!(room in known)) say("there is no room " room)
        else if (!sees[own, room]) say("room " own " must not include " target ": CMakeLists.txt does not let it see " room)
        else if (edges != "" && target ~ /\.h$/ && FILENAME ~ /\.h$/) print FILENAME, root target > edges
    } else if ($0 ~ /include[ \t]*"/) {
        say("\"" target "\" is not a path from src/ (\"shoal/ROOM/...\")")
    }
}

# Finds the coroutine expressions that g++ 12 miscompiles (CONTRIBUTING.md, 'Coroutines'): in a full-expression with co_await,
# a temporary that is a braced aggregate or a capturing lambda is destroyed twice. Whether `T{}` is an aggregate cannot be
# seen here, so every brace is refused, but for the body of a lambda that captures nothing. So is the class
# that a loop's condition awaits; here too the type cannot be seen, and every such condition is refused. So is the class that
# `c ? a : b` is, whatever a and b are; every `?` is refused.
#
# An aggregate is made without braces, too: by `T(1, 2)`, and by a default argument `T t = {}` of the function or
# constructor that is called. A first pass (`pass=1` before the files) learns the names of the aggregates and of such
# functions; the second (`pass=2`) refuses calls by these names.
#
# Prints FILE:LINE: reason. One pass over the tokens with a stack of open brackets. A 'frame' is a block of statements: a
# function's, a loop's, a lambda's. A full-expression ends at `;`, at the start and end of a block, and at the `)` of if,
# while, for and switch; a lambda's body is a frame of its own inside an expression that goes on behind it.

function begin_file() {
    naming = 0; named = ""; third_last = ""; fourth_last = ""
    frame = 0; brackets = 0; previous = ";"; before_previous = ""; in_comment = 0; in_raw = ""; continued = 0
    clear_expression()
}
function clear_expression() { awaits[frame] = 0; findings[frame] = 0 }
function finding_at(line, reason) {
    findings[frame]++
    where[frame, findings[frame]] = file ":" line ": " reason
}
function finding(reason) { finding_at(line_number, reason) }
function end_expression(    i) {
    if (awaits[frame] && pass == 2) for (i = 1; i <= findings[frame]; i++) print where[frame, i]
    clear_expression()
}
function open_bracket(kind) {
    brackets++
    opened[brackets] = kind
    lambda[brackets] = 0
    struct_name[brackets] = ""
}

# ---- What is an aggregate. A struct is one until a constructor or anything else that aggregates do not have is seen.

function note_struct(token) {
    if (token == "struct") {
        naming = 1
    } else if (naming && token ~ /^[A-Za-z_]/) {
        named = token
        naming = 0
    } else if (token ~ /^[;(),>=]$/) {
        named = ""
    }
    if (brackets > 0 && struct_name[brackets] != "")
        if (token ~ /^(private|protected|virtual|override)$/ ||
            (token == "(" && previous == struct_name[brackets] && before_previous != "~"))
            not_aggregate[struct_name[brackets]] = 1
}
function is_aggregate(name) { return (name in aggregate) && !(name in not_aggregate) }

# `T t = {` and `T t = T{` in a list of parameters: the function has such a default at this position.
function note_default(    type) {
    if (pass != 1 || brackets == 0 || opened[brackets] != "round") return
    if (previous == "=") type = third_last ~ /^&$/ ? fourth_last : third_last
    else if (before_previous == "=") type = previous
    else return
    defaults++
    default_of[defaults] = callee[brackets]
    default_type[defaults] = type
    default_position[defaults] = commas[brackets] + 1
    default_required[defaults] = first_default[brackets] - 1
    default_file[defaults] = file ~ /\.cpp$/ ? file : ""  # nobody else sees what a .cpp declares
}
function learned(    i) {
    for (i = 1; i <= defaults; i++) if (is_aggregate(default_type[i])) has_defaults[default_of[i]] = 1
}
# Does this call leave a parameter to an aggregate's default? Functions of one name differ in how many arguments they need.
function uses_default(name, given,    i) {
    if (name in has_defaults)
        for (i = 1; i <= defaults; i++)
            if (default_of[i] == name && is_aggregate(default_type[i]) && given >= default_required[i] &&
                given < default_position[i] && (default_file[i] == "" || default_file[i] == file)) return 1
    return 0
}

function check_call(    given, name) {
    given = empty[brackets] ? 0 : commas[brackets] + 1
    name = callee[brackets]
    if (is_aggregate(declared[brackets]) || declared[brackets] in has_defaults) name = declared[brackets]
    if (is_aggregate(name) && given > 0)
        finding_at(line_of[brackets], "an aggregate is made in an expression with co_await: name it first")
    if (uses_default(name, given))
        finding_at(line_of[brackets], name "() makes an aggregate for a default argument: name it first and pass it")
}

function is_introducer() {  # does this '[' start a lambda (and not an index, an attribute or a structured binding)?
    if (previous ~ /^(return|co_return|co_await|co_yield|else|case|throw|do)$/) return 1
    if (previous ~ /^[A-Za-z0-9_]/ || previous ~ /^[])"'>]$/) return 0
    if (previous ~ /^&/ && before_previous == "auto") return 0
    return 1
}

function within_loop_condition(    i) {
    for (i = brackets; i > 0 && opened[i] ~ /^(round|square|value|loop|for)$/; i--) if (opened[i] == "loop") return 1
    return 0
}

# A brace that belongs to a value, by how clang-format sets it: `T{`, `= {`, `({`, `, {`, `return {`.
function is_initializer(space) {
    if (!space && previous ~ /^[A-Za-z0-9_>)\]]/ && previous !~ /^(else|do|try)$/) return 1
    if (previous ~ /^([=(,?[]|<<|return|co_return|co_await|co_yield|in)$/) return 1
    if (previous == ":" && brackets > 0 && opened[brackets] == "for") return 1  # for (x : {1, 2})
    if (previous == "{" && brackets > 0 && opened[brackets] == "value") return 1
    return 0
}

function open_brace(space) {
    if (lambda[brackets]) {  # the body of a lambda
        lambda[brackets] = 0
        open_bracket("lambda")
        frame++
        clear_expression()
    } else if (is_initializer(space)) {
        note_default()
        finding("braces in an expression with co_await: name the object first")
        open_bracket("value")
    } else {
        end_expression()
        open_bracket("block")
        struct_name[brackets] = named
        if (named != "") aggregate[named] = 1
        named = ""
        frame++
        clear_expression()
    }
}

function close_brace() {
    if (brackets == 0) return
    if (opened[brackets] != "value") {
        end_expression()
        frame--
        if (opened[brackets] == "block") clear_expression()
    }
    brackets--
}

function take(token, space) {
    if (pass == 1) note_struct(token)
    if (brackets > 0 && token != ")") empty[brackets] = 0
    if (token == "," && brackets > 0) commas[brackets]++
    if (token == "=" && brackets > 0 && !first_default[brackets]) first_default[brackets] = commas[brackets] + 1
    if (token ~ /^co_(await|yield)$/) {
        awaits[frame] = 1
        if (within_loop_condition()) finding("co_await in the condition of a loop: await into a variable of the loop's body")
    } else if (token == "(") {
        kind = previous == "while" ? "loop" : previous == "for" ? "for" : "control"
        open_bracket(previous ~ /^(if|while|for|switch|constexpr)$/ ? kind : "round")
        callee[brackets] = previous
        declared[brackets] = before_previous
        line_of[brackets] = line_number
        commas[brackets] = 0
        first_default[brackets] = 0
        empty[brackets] = 1
    } else if (token == "?") {
        finding("?: in an expression with co_await: choose before, into a variable")
    } else if (token == "[" && (previous == "[" || next_is_square)) {
        open_bracket("square")  # of an attribute
    } else if (token == "[") {
        if (is_introducer()) {
            open_bracket("introducer")
            captures = 0
        } else {
            open_bracket("square")
        }
    } else if (token == ")" || token == "]") {
        if (brackets > 0) {
            closed = opened[brackets]
            if (closed == "round" && pass == 2) check_call()
            brackets--
            if (closed ~ /^(control|loop|for)$/) end_expression()
            if (closed == "introducer") {
                lambda[brackets] = 1
                if (captures) finding("a capturing lambda in an expression with co_await: name it first")
            }
        }
    } else if (token == "{") {
        open_brace(space)
    } else if (token == "}") {
        close_brace()
    } else if (token == ";") {
        lambda[brackets] = 0
        end_expression()
        if (opened[brackets] == "for") opened[brackets] = "loop"  # what follows is the condition
        else if (opened[brackets] == "loop") opened[brackets] = "control"
    }
    if (token !~ /^[][(){};]$/ && brackets > 0 && opened[brackets] == "introducer") captures = 1
    fourth_last = third_last
    third_last = before_previous
    before_previous = previous
    previous = token
}

# The line without comments and with every literal as an empty one.
function strip(text,    result, rest, end, terminator) {
    result = ""
    while (text != "") {
        if (in_comment) {
            end = index(text, "*/")
            if (!end) return result
            text = substr(text, end + 2)
            in_comment = 0
        } else if (in_raw != "") {
            end = index(text, in_raw)
            if (!end) return result
            text = substr(text, end + length(in_raw))
            in_raw = ""
            result = result "\"\""
        } else if (match(text, /\/\/|\/\*|R"[^(]*\(|"|'/)) {
            rest = substr(text, RSTART, RLENGTH)
            result = result substr(text, 1, RSTART - 1)
            if (rest == "'" && result ~ /[0-9a-fA-F]$/ && substr(text, RSTART + 1) ~ /^[0-9a-fA-F]/) {
                text = substr(text, RSTART + 1)  # 1'000'000
                continue
            }
            text = substr(text, RSTART + RLENGTH)
            if (rest == "//") return result
            if (rest == "/*") {
                in_comment = 1
            } else if (rest ~ /^R/) {
                in_raw = ")" substr(rest, 3, length(rest) - 3) "\""
            } else {
                result = result "\"\""
                while (text != "" && substr(text, 1, 1) != rest) text = substr(text, substr(text, 1, 1) == "\\" ? 3 : 2)
                text = substr(text, 2)
            }
        } else {
            return result text
        }
    }
    return result
}

FNR == 1 { begin_file(); file = FILENAME }
pass == 2 && !knows { knows = 1; learned() }
{
    line_number = FNR
    text = strip($0)
    if (continued || text ~ /^[ \t]*#/) {  # the preprocessor's
        continued = $0 ~ /\\$/
        next
    }
    space = 1
    while (match(text, /[A-Za-z_][A-Za-z0-9_]*|[0-9][A-Za-z0-9_.]*|""|<<|&&|::|->|[^ \t]/)) {
        if (RSTART > 1) space = 1
        token = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        next_is_square = text ~ /^\[/
        take(token, space)
        space = 0
    }
}

# Finds the coroutine expressions that g++ 12 miscompiles (ARCHITECTURE.md, 'Compilers'): in a full-expression with co_await,
# a temporary that is a braced aggregate or a capturing lambda is destroyed twice. Whether `T{}` is an aggregate cannot be
# seen here, so every brace is refused, but for the body of a lambda that captures nothing. So is the class
# that a loop's condition awaits; here too the type cannot be seen, and every such condition is refused.
#
# Prints FILE:LINE: reason. One pass over the tokens with a stack of open brackets. A 'frame' is a block of statements: a
# function's, a loop's, a lambda's. A full-expression ends at `;`, at the start and end of a block, and at the `)` of if,
# while, for and switch; a lambda's body is a frame of its own inside an expression that goes on behind it.

function begin_file() {
    frame = 0; brackets = 0; previous = ";"; before_previous = ""; in_comment = 0; in_raw = ""; continued = 0
    clear_expression()
}
function clear_expression() { awaits[frame] = 0; findings[frame] = 0 }
function finding(reason) {
    findings[frame]++
    where[frame, findings[frame]] = file ":" line_number ": " reason
}
function end_expression(    i) {
    if (awaits[frame]) for (i = 1; i <= findings[frame]; i++) print where[frame, i]
    clear_expression()
}
function open_bracket(kind) { brackets++; opened[brackets] = kind; lambda[brackets] = 0 }

function is_introducer() {  # does this '[' start a lambda (and not an index, an attribute or a structured binding)?
    if (previous ~ /^(return|co_return|co_await|co_yield|else|case|throw|do)$/) return 1
    if (previous ~ /^[A-Za-z0-9_]/ || previous ~ /^[])"'>]$/) return 0
    if (previous ~ /^&/ && before_previous == "auto") return 0
    return 1
}

function within_loop_condition(    i) {
    for (i = brackets; i > 0 && opened[i] ~ /^(round|square|value|loop)$/; i--) if (opened[i] == "loop") return 1
    return 0
}

# A brace that belongs to a value, by how clang-format sets it: `T{`, `= {`, `({`, `, {`, `return {`.
function is_initializer(space) {
    if (!space && previous ~ /^[A-Za-z0-9_>]/ && previous !~ /^(else|do|try)$/) return 1
    if (previous ~ /^([=(,?[]|<<|return|co_return|co_await|co_yield|in)$/) return 1
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
        finding("braces in an expression with co_await: name the object first")
        open_bracket("value")
    } else {
        end_expression()
        open_bracket("block")
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
    if (token == "co_await") {
        awaits[frame] = 1
        if (within_loop_condition()) finding("co_await in the condition of a loop: await into a variable of the loop's body")
    } else if (token == "(") {
        kind = previous == "while" ? "loop" : "control"
        open_bracket(previous ~ /^(if|while|for|switch|constexpr)$/ ? kind : "round")
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
            brackets--
            if (closed == "control" || closed == "loop") end_expression()
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
    }
    if (token !~ /^[][(){};]$/ && brackets > 0 && opened[brackets] == "introducer") captures = 1
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
        take(token, space)
        space = 0
    }
}

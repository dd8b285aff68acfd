//! From a template's text to its nodes.

use serde_json::Value;

use super::{MAX_DEPTH, TemplateError};

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    Range(Pipe, Vec<Node>, Vec<Node>),
}

/// Commands, each with the result of the one before.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) declaration: Option<Declaration>,
    pub(super) commands: Vec<Command>,
}

/// `$x :=` or `$x =`.
#[derive(Debug, Clone)]
pub(super) struct Declaration {
    pub(super) names: Vec<String>,
    pub(super) new: bool,
}

/// A function and its arguments, or one operand.
pub(super) type Command = Vec<Operand>;

/// A value, or where to find it.
#[derive(Debug, Clone)]
pub(super) enum Operand {
    Constant(Value),
    /// `.a.b`; none is the dot itself.
    Fields(Vec<String>),
    Variable(String, Vec<String>),
    Group(Pipe, Vec<String>),
    Function(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// `.a.b` directly behind something, or on its own.
    Fields(Vec<String>),
    Variable(String),
    Constant(Value),
    Sign(&'static str),
    Space,
}

fn wrong(what: impl Into<String>) -> TemplateError {
    TemplateError::Syntax { what: what.into() }
}

/// Text or what stands between braces.
enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// Reads a template.
pub(super) fn parse(template: &str) -> Result<Vec<Node>, TemplateError> {
    let mut pieces = pieces(template)?.into_iter();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        Stop::Text => Ok(nodes),
        Stop::Else(_) => Err(wrong("unexpected {{else}}")),
        Stop::End => Err(wrong("unexpected {{end}}")),
    }
}

/// The pieces, with the trimming of `{{-` and `-}}` done and comments taken out.
fn pieces(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut out = Vec::new();
    let mut rest = template;
    let mut trim = false;
    loop {
        let (text, action) = match rest.split_once("{{") {
            Some((text, action)) => (text, Some(action)),
            None => (rest, None),
        };
        let mut text = if trim { text.trim_start() } else { text };
        let inner =
            action.map(|action| action.strip_prefix("- ").map_or((action, false), |inner| (inner, true)));
        if inner.is_some_and(|(_, trims)| trims) {
            text = text.trim_end();
        }
        if !text.is_empty() {
            out.push(Piece::Text(text.to_owned()));
        }
        let Some((inner, _)) = inner else { return Ok(out) };
        let end = end_of_action(inner).ok_or_else(|| wrong("unclosed action"))?;
        let mut body = &inner[..end];
        rest = &inner[end + 2..];
        trim = body.ends_with(" -");
        if trim {
            body = &body[..body.len() - 2];
        }
        let body = body.trim();
        if !(body.starts_with("/*") && body.ends_with("*/")) {
            out.push(Piece::Action(tokens(body)?));
        }
    }
}

/// Where the closing braces are, outside of quotes.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, one) in text.char_indices() {
        match (quote, one) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), one) if one == open && !escaped => quote = None,
            (None, '"' | '`') => quote = Some(one),
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
        escaped = false;
    }
    None
}

fn tokens(body: &str) -> Result<Vec<Token>, TemplateError> {
    let mut out = Vec::new();
    let mut rest = body;
    let name =
        |text: &str| text.find(|one: char| !(one.is_alphanumeric() || one == '_')).unwrap_or(text.len());
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = [":=", "=", "|", "(", ")", ","].into_iter().find(|sign| rest.starts_with(sign)) {
            out.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if first.is_whitespace() {
            out.push(Token::Space);
            rest = rest.trim_start();
        } else if first == '.' {
            let mut fields = Vec::new();
            while let Some(after) = rest.strip_prefix('.') {
                let length = name(after);
                if length > 0 {
                    fields.push(after[..length].to_owned());
                } else if !fields.is_empty() {
                    return Err(wrong(format!("unexpected <.> in {body:?}")));
                }
                rest = &after[length..];
            }
            out.push(Token::Fields(fields));
        } else if first == '$' {
            let length = 1 + name(&rest[1..]);
            out.push(Token::Variable(rest[..length].to_owned()));
            rest = &rest[length..];
        } else if first == '"' || first == '`' {
            let (value, after) = quoted(rest).ok_or_else(|| wrong("unterminated quoted string"))?;
            out.push(Token::Constant(value));
            rest = after;
        } else if first.is_ascii_digit() || first == '-' || first == '+' {
            let length =
                rest.find(|one: char| one.is_whitespace() || "|),".contains(one)).unwrap_or(rest.len());
            let text = rest[..length].trim_start_matches('+');
            let number = serde_json::from_str::<serde_json::Number>(text);
            out.push(Token::Constant(number.map_err(|_| wrong(format!("bad number {text:?}")))?.into()));
            rest = &rest[length..];
        } else {
            let length = name(rest);
            if length == 0 {
                return Err(wrong(format!("unexpected {first:?} in {body:?}")));
            }
            out.push(Token::Word(rest[..length].to_owned()));
            rest = &rest[length..];
        }
    }
    Ok(out)
}

fn quoted(text: &str) -> Option<(Value, &str)> {
    if let Some(raw) = text.strip_prefix('`') {
        let (inner, rest) = raw.split_once('`')?;
        return Some((inner.into(), rest));
    }
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = stream.next()?.ok()?;
    let end = stream.byte_offset();
    Some((value.into(), &text[end..]))
}

/// What ended a block.
enum Stop {
    Text,
    Else(Vec<Token>),
    End,
}

fn block(pieces: &mut impl Iterator<Item = Piece>, depth: usize) -> Result<(Vec<Node>, Stop), TemplateError> {
    if depth > MAX_DEPTH {
        return Err(wrong("blocks are nested too deep"));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        match tokens.first() {
            Some(Token::Word(word)) => match word.as_str() {
                "end" => return Ok((nodes, Stop::End)),
                "else" => return Ok((nodes, Stop::Else(tokens[1..].to_vec()))),
                "if" | "with" | "range" => nodes.push(branch(word, &tokens[1..], pieces, depth)?),
                "define" | "template" | "block" | "break" | "continue" => {
                    return Err(wrong(format!("{{{{{word}}}}} is not supported")));
                }
                _ => nodes.push(Node::Print(whole_pipe(&tokens)?)),
            },
            _ => nodes.push(Node::Print(whole_pipe(&tokens)?)),
        }
    }
    Ok((nodes, Stop::Text))
}

fn branch(
    word: &str,
    condition: &[Token],
    pieces: &mut impl Iterator<Item = Piece>,
    depth: usize,
) -> Result<Node, TemplateError> {
    let pipe = whole_pipe(condition)?;
    let (then, end) = block(pieces, depth + 1)?;
    let otherwise = match end {
        Stop::End => Vec::new(),
        Stop::Text => return Err(wrong(format!("{{{{{word}}}}} has no {{{{end}}}}"))),
        Stop::Else(more) => match more.iter().find(|token| **token != Token::Space) {
            None => match block(pieces, depth + 1)? {
                (nodes, Stop::End) => nodes,
                _ => return Err(wrong(format!("{{{{{word}}}}} has no {{{{end}}}}"))),
            },
            Some(Token::Word(again)) if again == word && word != "range" => {
                let start = more.iter().position(|token| *token != Token::Space).unwrap_or(0);
                vec![branch(word, &more[start + 1..], pieces, depth + 1)?]
            }
            Some(_) => return Err(wrong("unexpected words after {{else}}")),
        },
    };
    Ok(match word {
        "if" => Node::If(pipe, then, otherwise),
        "with" => Node::With(pipe, then, otherwise),
        _ => Node::Range(pipe, then, otherwise),
    })
}

fn whole_pipe(tokens: &[Token]) -> Result<Pipe, TemplateError> {
    let (pipe, rest) = pipe(tokens, 0)?;
    if rest.is_empty() { Ok(pipe) } else { Err(wrong("unexpected words in an action")) }
}

fn skip(mut tokens: &[Token]) -> &[Token] {
    while let [Token::Space, rest @ ..] = tokens {
        tokens = rest;
    }
    tokens
}

fn declaration(tokens: &[Token]) -> (Option<Declaration>, &[Token]) {
    let mut names = Vec::new();
    let mut rest = skip(tokens);
    while let [Token::Variable(name), after @ ..] = rest {
        names.push(name.clone());
        rest = skip(after);
        match rest {
            [Token::Sign(","), after @ ..] => rest = skip(after),
            [Token::Sign(sign @ (":=" | "=")), after @ ..] => {
                return (Some(Declaration { names, new: *sign == ":=" }), after);
            }
            _ => break,
        }
    }
    (None, tokens)
}

fn pipe(tokens: &[Token], depth: usize) -> Result<(Pipe, &[Token]), TemplateError> {
    if depth > MAX_DEPTH {
        return Err(wrong("parentheses are nested too deep"));
    }
    let (declaration, rest) = declaration(tokens);
    let mut commands = Vec::new();
    let mut command = Vec::new();
    let mut rest = skip(rest);
    while let Some((first, after)) = rest.split_first() {
        match first {
            Token::Sign(")") => break,
            Token::Sign("|") => {
                commands.push(std::mem::take(&mut command));
                rest = after;
            }
            Token::Space => rest = after,
            _ => {
                let (one, after) = operand(first, after, depth)?;
                command.push(one);
                rest = after;
            }
        }
    }
    commands.push(command);
    if commands.iter().any(Vec::is_empty) {
        return Err(wrong("missing value for command"));
    }
    Ok((Pipe { declaration, commands }, rest))
}

fn operand<'a>(
    first: &Token,
    after: &'a [Token],
    depth: usize,
) -> Result<(Operand, &'a [Token]), TemplateError> {
    let fields = |after: &'a [Token]| match after {
        [Token::Fields(fields), rest @ ..] => (fields.clone(), rest),
        _ => (Vec::new(), after),
    };
    Ok(match first {
        Token::Constant(value) => (Operand::Constant(value.clone()), after),
        Token::Fields(fields) => (Operand::Fields(fields.clone()), after),
        Token::Variable(name) => {
            let (fields, rest) = fields(after);
            (Operand::Variable(name.clone(), fields), rest)
        }
        Token::Word(word) => {
            let constant = match word.as_str() {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                "nil" => Some(Value::Null),
                _ => None,
            };
            match constant {
                Some(value) => (Operand::Constant(value), after),
                None if super::functions::NAMES.contains(&word.as_str()) => {
                    (Operand::Function(word.clone()), after)
                }
                None => return Err(wrong(format!("function {word:?} not defined"))),
            }
        }
        Token::Sign("(") => {
            let (inner, rest) = pipe(after, depth + 1)?;
            let [Token::Sign(")"), rest @ ..] = rest else { return Err(wrong("unclosed left paren")) };
            let (fields, rest) = fields(rest);
            (Operand::Group(inner, fields), rest)
        }
        Token::Sign(sign) => return Err(wrong(format!("unexpected {sign:?}"))),
        Token::Space => return Err(wrong("unexpected blank")),
    })
}

//! Go's text/template over JSON, as far as command lines use it: fields, variables, pipelines, `if`, `range`, `with`,
//! comparisons, `len`, `index`, `printf` and crictl's `json`, `title`, `lower`, `upper`. A missing key is an error.
//! `define`, `template`, `block`, `break` and `continue` are refused by name.

mod functions;
mod parse;

use serde_json::Value;

use parse::{Command, Declaration, Node, Operand, Pipe};

/// Why a template cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Its text is wrong.
    #[error("template: {what}")]
    Syntax {
        /// What is wrong.
        what: String,
    },
    /// It asks for something that is not there.
    #[error("template: {path}: map has no entry for key {key:?}")]
    MissingKey {
        /// The whole path.
        path: String,
        /// The part that is missing.
        key: String,
    },
    /// It cannot be done with this value.
    #[error("template: {what}")]
    Evaluate {
        /// What cannot be done.
        what: String,
    },
}

/// Deeper nesting of blocks and parentheses is refused.
const MAX_DEPTH: usize = 64;

/// The template's text for a value.
///
/// # Errors
/// A wrong template, or one that does not fit the value.
pub(crate) fn render(template: &str, value: &Value) -> Result<String, TemplateError> {
    let nodes = parse::parse(template)?;
    let mut scope = Scope { variables: vec![("$".to_owned(), value.clone())], out: String::new() };
    scope.nodes(&nodes, value)?;
    Ok(scope.out)
}

/// Whether the template can be read.
///
/// # Errors
/// When not.
pub(crate) fn check(template: &str) -> Result<(), TemplateError> {
    parse::parse(template).map(drop)
}

struct Scope {
    variables: Vec<(String, Value)>,
    out: String,
}

impl Scope {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let outer = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Print(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.declaration.is_none() {
                        self.out.push_str(&functions::shown(&value, true));
                    }
                }
                Node::If(pipe, then, otherwise) => {
                    let inner = self.variables.len();
                    let taken = if functions::truth(&self.pipe(pipe, dot)?) { then } else { otherwise };
                    self.nodes(taken, dot)?;
                    self.variables.truncate(inner);
                }
                Node::With(pipe, then, otherwise) => {
                    let inner = self.variables.len();
                    let value = self.pipe(pipe, dot)?;
                    if functions::truth(&value) {
                        self.nodes(then, &value)?;
                    } else {
                        self.nodes(otherwise, dot)?;
                    }
                    self.variables.truncate(inner);
                }
                Node::Range(pipe, body, otherwise) => self.range(pipe, body, otherwise, dot)?,
            }
        }
        self.variables.truncate(outer.max(1));
        Ok(())
    }

    fn range(
        &mut self,
        pipe: &Pipe,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<(), TemplateError> {
        let plain = Pipe { declaration: None, commands: pipe.commands.clone() };
        let entries: Vec<(Value, Value)> = match self.pipe(&plain, dot)? {
            Value::Array(items) => {
                items.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(entries) => {
                let mut entries: Vec<_> = entries.into_iter().collect();
                entries.sort_by(|left, right| left.0.cmp(&right.0));
                entries.into_iter().map(|(key, value)| (key.into(), value)).collect()
            }
            Value::Null => Vec::new(),
            other => {
                let what = format!("range can't iterate over {}", functions::shown(&other, true));
                return Err(TemplateError::Evaluate { what });
            }
        };
        if entries.is_empty() {
            return self.nodes(otherwise, dot);
        }
        let names = pipe.declaration.as_ref().map_or(&[][..], |declaration| &declaration.names);
        for (key, value) in entries {
            let inner = self.variables.len();
            match names {
                [item] => self.variables.push((item.clone(), value.clone())),
                [index, item] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((item.clone(), value.clone()));
                }
                _ => {}
            }
            self.nodes(body, &value)?;
            self.variables.truncate(inner);
        }
        Ok(())
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, TemplateError> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, value, dot)?);
        }
        let value = value.unwrap_or(Value::Null);
        if let Some(Declaration { names, new }) = &pipe.declaration {
            let name = names.first().cloned().unwrap_or_default();
            let known = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
            match known {
                Some(known) if !new => known.1 = value.clone(),
                None if !new => {
                    return Err(TemplateError::Syntax { what: format!("undefined variable {name:?}") });
                }
                _ => self.variables.push((name, value.clone())),
            }
        }
        Ok(value)
    }

    /// `piped` is the last argument of a function.
    fn command(
        &mut self,
        command: &Command,
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        let [first, rest @ ..] = command.as_slice() else { return Ok(Value::Null) };
        let Operand::Function(name) = first else {
            if rest.is_empty() && piped.is_none() {
                return self.operand(first, dot);
            }
            return Err(TemplateError::Evaluate { what: "can't give argument to non-function".to_owned() });
        };
        let mut arguments = Vec::new();
        for operand in rest {
            let value = self.operand(operand, dot)?;
            // These two stop at the first argument that decides.
            if matches!((name.as_str(), functions::truth(&value)), ("and", false) | ("or", true)) {
                return Ok(value);
            }
            arguments.push(value);
        }
        arguments.extend(piped);
        functions::call(name, arguments)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        match operand {
            Operand::Constant(value) => Ok(value.clone()),
            Operand::Fields(fields) => walk(dot, fields),
            Operand::Variable(name, fields) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let (_, value) = known
                    .ok_or_else(|| TemplateError::Syntax { what: format!("undefined variable {name:?}") })?;
                walk(value, fields)
            }
            Operand::Group(pipe, fields) => {
                let value = self.pipe(pipe, dot)?;
                walk(&value, fields)
            }
            Operand::Function(name) => functions::call(name, Vec::new()),
        }
    }
}

fn walk(value: &Value, fields: &[String]) -> Result<Value, TemplateError> {
    let mut at = value;
    for field in fields {
        let path = || fields.join(".");
        at = match at {
            Value::Object(entries) => entries
                .get(field)
                .ok_or_else(|| TemplateError::MissingKey { path: path(), key: field.clone() })?,
            Value::Null => {
                return Err(TemplateError::Evaluate {
                    what: format!("nil data; no entry for key {field:?}"),
                });
            }
            _ => {
                let what = format!("can't evaluate field {field} of {}", path());
                return Err(TemplateError::Evaluate { what });
            }
        };
    }
    Ok(at.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn templates_say_what_gos_say() {
        let value = json!({"a": {"b": "x y", "n": 12, "none": null}, "l": [{"k": 1}, {"k": 2}], "e": [], "t": true,
                           "with-dash": "d"});
        for (template, said) in [
            ("{{.a.b}}", "x y"),
            ("{{.a.n}}-{{.t}}-{{.a.none}}", "12-true-<no value>"),
            ("{{.a}}", "map[b:x y n:12 none:<nil>]"),
            ("{{.l}} {{.e}}", "[map[k:1] map[k:2]] []"),
            ("{{range .l}}{{.k}},{{end}}", "1,2,"),
            ("{{range $i, $x := .l}}{{$i}}={{$x.k}} {{$.a.n}};{{end}}", "0=1 12;1=2 12;"),
            ("{{range .e}}x{{else}}none{{end}}", "none"),
            ("{{if .e}}x{{else if .t}}y{{else}}z{{end}}", "y"),
            ("{{with .a}}{{.b}}{{end}}", "x y"),
            ("{{json .a}}", "{\"b\":\"x y\",\"n\":12,\"none\":null}\n"),
            ("{{.a.b | upper}} {{title .a.b}} {{lower \"AB\"}}", "X Y X Y ab"),
            ("{{len .l}} {{(index .l 1).k}} {{index . \"with-dash\"}}", "2 2 d"),
            ("{{if eq .a.b \"x y\" \"z\"}}yes{{end}}{{if and .t (not .e)}}!{{end}}", "yes!"),
            ("a {{- /* c */ -}} b {{- .a.n -}} c", "ab12c"),
            ("{{printf \"%s|%5v|%-3s|%q%%\" .a.b .a.n \"z\" \"q\"}}", "x y|   12|z  |\"q\"%"),
            ("{{$x := 1}}{{if .t}}{{$x = 2}}{{end}}{{$x}}", "2"),
            ("{{`raw`}}{{\"\\n\"}}{{print 1 2 \"c\"}}", "raw\n1 2c"),
        ] {
            assert_eq!(render(template, &value).unwrap(), said, "{template}");
        }
    }

    #[test]
    fn what_is_wrong_fails() {
        let value = json!({"a": 1});
        for template in [
            "{{.b}}",
            "{{.a.b}}",
            "{{",
            "{{.a",
            "{{if .a}}",
            "{{end}}",
            "{{else}}",
            "{{nosuch .a}}",
            "{{range .a}}{{end}}",
            "{{$x}}",
            "{{.a 1}}",
            "{{template \"x\"}}",
            "{{\"x}}",
            "{{(.a}}",
            "{{index .a 1}}",
            "{{}}",
            "{{len}}",
        ] {
            assert!(render(template, &value).is_err(), "{template}");
        }
        assert!(
            check(&"{{if 1}}".repeat(1000)).is_err() && check(&format!("{{{{{}", "(".repeat(1000))).is_err()
        );
    }
}

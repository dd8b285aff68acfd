//! The one program of the demonstration image: a web server and a client that fetches its page.
//!
//! `ochre-demo serve PORT` answers every request with a page and logs it; `ochre-demo fetch PORT` asks the server on the
//! pod's loopback until it answers, prints the page and then waits; `ochre-demo echo PORT` sends back what each of any
//! number of connections sends, and ends with it; `ochre-demo say TEXT…` prints.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// The longest request that is read.
const MAX_REQUEST: u64 = 16 << 10;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["serve", port] => port.parse().map_err(io::Error::other).and_then(serve),
        ["fetch", port] => port.parse().map_err(io::Error::other).and_then(fetch),
        ["echo", port] => port.parse().map_err(io::Error::other).and_then(echo),
        ["say", text @ ..] => writeln!(io::stdout(), "{}", text.join(" ")),
        _ => Err(io::Error::other("usage: ochre-demo serve PORT | fetch PORT | echo PORT | say TEXT…")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nowhere else to say it.
            drop(writeln!(io::stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    writeln!(io::stdout(), "serving on port {port}")?;
    loop {
        let (stream, peer) = listener.accept()?;
        let mut line = String::new();
        BufReader::new((&stream).take(MAX_REQUEST)).read_line(&mut line)?;
        writeln!(io::stdout(), "{peer} {}", line.trim_end())?;
        let page = "Hello from a pod that ochre runs.\n";
        let length = page.len();
        write!(
            &stream,
            "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{page}"
        )?;
    }
}

fn echo(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    writeln!(io::stdout(), "echoing on port {port}")?;
    loop {
        let (stream, _) = listener.accept()?;
        std::thread::spawn(move || {
            // A connection that breaks is the client's affair.
            drop(io::copy(&mut &stream, &mut &stream));
        });
    }
}

fn fetch(port: u16) -> io::Result<()> {
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_REQUEST).read_to_string(&mut answer)?;
    let page = answer.split_once("\r\n\r\n").map_or(answer.as_str(), |(_, page)| page);
    write!(io::stdout(), "the page says: {page}")?;
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

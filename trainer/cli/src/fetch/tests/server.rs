//! A server that answers one request for each connection, and can cut an answer short.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request, as far as the tests look at it.
#[derive(Clone, Debug)]
pub struct Request {
    pub head: bool,
    pub path: String,
    /// Where the asked-for range begins.
    pub from: Option<usize>,
}

/// An answer.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// How many bytes of the body are sent before the connection is closed.
    pub sent: usize,
    pub end: End,
}

/// How an answer tells where it ends.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// By its length.
    Length,
    /// By an empty chunk.
    Chunk,
    /// By closing the connection.
    Close,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            sent: usize::MAX,
            end: End::Length,
        }
    }

    /// The whole file, or the asked-for rest of it.
    pub fn file(request: &Request, bytes: &[u8]) -> Self {
        let total = bytes.len();
        match request.from {
            Some(from) if from >= total => Reply::status(416),
            Some(from) => {
                let range = format!("bytes {from}-{}/{total}", total - 1);
                Reply {
                    body: bytes[from..].to_vec(),
                    ..Reply::status(206)
                }
                .with("Content-Range", range)
            }
            None => Reply {
                body: bytes.to_vec(),
                ..Reply::status(200)
            },
        }
    }

    pub fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }

    pub fn cut(self, sent: usize) -> Self {
        Reply { sent, ..self }
    }

    pub fn ended(self, end: End) -> Self {
        Reply { end, ..self }
    }
}

/// A running server; it ends with the test program.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(request) = read(&stream) else {
                    continue;
                };
                seen.lock().unwrap().push(request.clone());
                // A client that hangs up early is no failure of the server.
                let _ = send(stream, request.head, &answer(&request));
            }
        });
        Server { url, requests }
    }

    /// The requests since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let head = words.next()? == "HEAD";
    let path = words.next()?.to_owned();
    let mut from = None;
    for line in lines {
        let line = line.ok()?.to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().ok();
        }
    }
    Some(Request { head, path, from })
}

fn send(mut stream: TcpStream, head: bool, reply: &Reply) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {} -\r\nConnection: close\r\n",
        reply.status
    )?;
    match reply.end {
        End::Length => write!(stream, "Content-Length: {}\r\n", reply.body.len())?,
        End::Chunk => write!(stream, "Transfer-Encoding: chunked\r\n")?,
        End::Close => {}
    }
    for (name, value) in &reply.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    write!(stream, "\r\n")?;
    if head {
        return stream.flush();
    }
    let sent = reply.sent.min(reply.body.len());
    if reply.end == End::Chunk {
        write!(stream, "{sent:x}\r\n")?;
    }
    stream.write_all(&reply.body[..sent])?;
    if reply.end == End::Chunk {
        write!(stream, "\r\n")?;
        if sent == reply.body.len() {
            write!(stream, "0\r\n\r\n")?;
        }
    }
    stream.flush()
}

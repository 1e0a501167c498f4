//! `finops-gateway demo`: one request in each client dialect, through the real listener.
//!
//! In: the address that the gateway listens on. Out: the answers on standard output, as they stream
//! in, and how to point clients here. Never: needs a key; the provider is `mock`.

use std::io::Write;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wire::http1::{self, Chunked, Limits};
use crate::wire::json_read::{field, items, text_field};
use crate::wire::sse::Splitter;

/// One request of the demonstration.
struct Scene {
    title: &'static str,
    path: &'static str,
    body: &'static str,
    /// The visible text of one event.
    text: fn(&str) -> String,
}

const SCENES: [Scene; 3] = [
    Scene {
        title: "Anthropic Messages, with thinking",
        path: "/anthropic/v1/messages",
        body: r#"{"model":"mock/echo","max_tokens":2048,"stream":true,
"thinking":{"type":"enabled","budget_tokens":1024},
"messages":[{"role":"user","content":"Hello from the Anthropic dialect."}]}"#,
        text: anthropic_text,
    },
    Scene {
        title: "Anthropic Messages, with a tool",
        path: "/anthropic/v1/messages",
        body: r#"{"model":"mock/echo","max_tokens":2048,"stream":true,
"tools":[{"name":"get_weather","input_schema":{"type":"object"}}],
"messages":[{"role":"user","content":"call get_weather {\"city\": \"Paris\"}"}]}"#,
        text: anthropic_text,
    },
    Scene {
        title: "OpenAI Chat Completions",
        path: "/openai/v1/chat/completions",
        body: r#"{"model":"mock/echo","stream":true,
"messages":[{"role":"user","content":"Hello from the OpenAI dialect."}]}"#,
        text: openai_text,
    },
];

/// Runs the demonstration.
///
/// # Errors
/// What the network or the answer did wrong.
pub async fn run(address: SocketAddr) -> Result<(), String> {
    for scene in &SCENES {
        println!("\n-- {} (POST {})", scene.title, scene.path);
        show(address, scene).await?;
        println!();
    }
    println!("{}", instructions(address));
    Ok(())
}

async fn show(address: SocketAddr, scene: &Scene) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).await.map_err(said)?;
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{}",
        scene.path,
        scene.body.len(),
        scene.body
    );
    stream.write_all(request.as_bytes()).await.map_err(said)?;
    let mut buf = Vec::new();
    let head = loop {
        if let Some(head) = http1::parse_response(&buf, &Limits::default(), false)
            .map_err(|refusal| refusal.reason.to_owned())?
        {
            break head;
        }
        if stream.read_buf(&mut buf).await.map_err(said)? == 0 {
            return Err("the gateway closed the connection".to_owned());
        }
    };
    if head.status != 200 {
        return Err(format!("status {}: {}", head.status, String::from_utf8_lossy(&buf)));
    }
    buf.drain(..head.len);
    let (mut chunks, mut splitter) = (Chunked::default(), Splitter::new(1 << 20));
    loop {
        let progress = chunks.decode(&mut buf).map_err(|refusal| refusal.reason.to_owned())?;
        splitter
            .feed(buf.get(..progress.produced).unwrap_or_default(), &mut |frame| {
                print!("{}", (scene.text)(frame.data));
                let _closed = std::io::stdout().flush();
            })
            .map_err(|error| error.to_string())?;
        if progress.done {
            return Ok(());
        }
        buf.clear();
        if stream.read_buf(&mut buf).await.map_err(said)? == 0 {
            return Err("the stream was cut".to_owned());
        }
    }
}

fn anthropic_text(data: &str) -> String {
    let block = field(data, "content_block");
    if let Some(name) = block.and_then(|block| text_field(block, "name")) {
        return format!("[tool {name}] ");
    }
    if block.and_then(|block| text_field(block, "type")).is_some_and(|kind| kind == "thinking") {
        return "[thinking] ".to_owned();
    }
    let Some(delta) = field(data, "delta") else {
        return if data.contains("content_block_stop") { "\n".to_owned() } else { String::new() };
    };
    ["text", "thinking", "partial_json"]
        .iter()
        .find_map(|name| text_field(delta, name))
        .map_or_else(String::new, std::borrow::Cow::into_owned)
}

fn openai_text(data: &str) -> String {
    let choice = field(data, "choices").and_then(|choices| items(choices).next());
    let delta = choice.and_then(|choice| field(choice, "delta"));
    delta
        .and_then(|delta| text_field(delta, "content"))
        .map_or_else(String::new, std::borrow::Cow::into_owned)
}

fn instructions(address: SocketAddr) -> String {
    format!(
        r#"
The gateway stays up at http://{address}. Point a client at it:

  Claude Code     ANTHROPIC_BASE_URL=http://{address}/anthropic ANTHROPIC_AUTH_TOKEN=any \
                  claude --model mock/echo
  Anthropic SDK   Anthropic(base_url="http://{address}/anthropic", api_key="any")
  OpenAI SDK      OpenAI(base_url="http://{address}/openai", api_key="any")
  curl            curl http://{address}/openai/v1/chat/completions -d \
                  '{{"model":"mock/echo","messages":[{{"role":"user","content":"hi"}}]}}'

With ANTHROPIC_API_KEY or OPENAI_API_KEY in the environment, models such as
anthropic/claude-sonnet-4-5 and openai/gpt-4o-mini work from either SDK. Ctrl-C ends it."#
    )
}

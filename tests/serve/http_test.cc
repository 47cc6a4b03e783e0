// HTTP itself: framing, limits, time, and what a hostile or broken client gets.
#include <atomic>

#include "tests/serve/client.h"

namespace octavo::serve {
namespace {

using std::chrono::milliseconds;
using test::Connection;
using test::Response;
using test::ServerSetup;
using test::TestServer;

// Routes that need no engine.
void add_echo(RouteTable& table, ServeContext&) {
  table.add("POST", "/echo", [](Exchange& x) {
    const Result<std::string> body = x.read_body();
    static_cast<void>(x.reply(body.ok() ? Reply::text(*body) : Reply::error(x.body_status(), body.error())));
  });
  table.add("POST", "/count",
            [](Exchange& x) {
              std::vector<std::byte> part(10'000);
              std::uint64_t bytes = 0, parts = 0;
              for (;;) {
                const Result<std::size_t> count = x.body().read(part);
                if (!count.ok()) return static_cast<void>(x.reply(Reply::error(400, count.error())));
                if (*count == 0) break;
                bytes += *count;
                ++parts;
              }
              static_cast<void>(x.reply(Reply::json({{"bytes", bytes}, {"parts", parts}})));
            },
            {.body_limit = kUnlimitedBody});
  table.add("POST", "/unread", [](Exchange& x) { static_cast<void>(x.reply(Reply::text("done"))); });
  table.add("GET", "/nothing", [](Exchange&) {});
  table.add("GET", "/throws", [](Exchange&) { throw std::bad_alloc(); });
  table.add("GET", "/head", [](Exchange& x) {
    const RequestHead& h = x.head();
    const std::string* a = h.parameter("a b");
    static_cast<void>(x.reply(Reply::json({{"path", h.path}, {"a", a == nullptr ? "" : *a}, {"id", h.id}})));
  });
  table.add("GET", "/pieces", [](Exchange& x) {
    static_cast<void>(x.begin_stream(200, "text/plain"));
    for (const char* piece : {"one ", "", "two ", "three"}) static_cast<void>(x.write(piece));
  });
  table.add("GET", "/files/*", [](Exchange& x) { static_cast<void>(x.reply(Reply::text(x.head().rest))); });
}

ServerSetup echo_setup() {
  ServerSetup out;
  out.more = add_echo;
  return out;
}

TEST(Http, OneConnectionManyRequests) {
  const TestServer server(echo_setup());
  Connection c(server.port());
  for (int i = 0; i < 5; ++i) {
    c.send_request("POST", "/echo", fmt::format("body {}", i));
    const Response r = c.read_response();
    EXPECT_EQ(r.status, 200);
    EXPECT_EQ(r.body, fmt::format("body {}", i));
    EXPECT_FALSE(r.headers.at("x-request-id").empty());
  }
  // Pipelined.
  c.send(
      "GET /files/a/b HTTP/1.1\r\nHost: x\r\n\r\nGET /head?a+b=%41%42&c HTTP/1.1\r\nHost: x\r\nX-Request-Id: "
      "mine\r\n\r\n");
  EXPECT_EQ(c.read_response().body, "a/b");
  const Response r = c.read_response();
  EXPECT_EQ(r.json()["a"], "AB");
  EXPECT_EQ(r.json()["id"], "mine");
  EXPECT_EQ(r.headers.at("x-request-id"), "mine");
  // A body that the route did not read does not become the next request.
  c.send_request("POST", "/unread", "GET /nothing HTTP/1.1\r\n\r\n");
  EXPECT_EQ(c.read_response().body, "done");
  c.send_request("GET", "/pieces");
  const Response pieces = c.read_response();
  EXPECT_EQ(pieces.body, "one two three");
  EXPECT_TRUE(pieces.complete);
  c.send_request("HEAD", "/pieces");
  EXPECT_EQ(c.read_response(/*head_request=*/true).status, 200);
  c.send_request("GET", "/health", "", "Connection: close\r\n");
  EXPECT_EQ(c.read_response().status, 200);
  EXPECT_TRUE(c.ended());
}

TEST(Http, OldClients) {
  const TestServer server(echo_setup());
  Connection c(server.port());
  c.send("GET /pieces HTTP/1.0\r\n\r\n");
  const Response r = c.read_response();
  EXPECT_FALSE(r.headers.contains("transfer-encoding"));
  EXPECT_EQ(r.body, "one two three");
}

TEST(Http, RoutesAndMethods) {
  const TestServer server(echo_setup());
  const Response missing = server.get("/v1/complitions");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.error(), "there is no route /v1/complitions; did you mean /v1/completions?");
  const Response method = server.get("/v1/completions");
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.headers.at("allow"), "POST");
  EXPECT_EQ(server.get("/files/").status, 404);
  EXPECT_EQ(server.get("/nothing").status, 500);
  EXPECT_EQ(server.get("/throws").status, 500);
  EXPECT_EQ(server.get("/%zz%").status, 404);
  EXPECT_EQ(server.request("POST", "/v1/embeddings", "{}").status, 501);
}

TEST(Http, Bodies) {
  ServerSetup setup = echo_setup();
  setup.http.body_bytes = 100'000;
  const TestServer server(setup);
  Connection c(server.port());
  c.send(
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\n\r\n");
  EXPECT_EQ(c.read_response().body, "abcdefg");
  c.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(c.read_head().status, 100);
  c.send("xyz");
  EXPECT_EQ(c.read_response().body, "xyz");
  // Too long: said before it is sent, or found out while it comes.
  c.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n");
  const Response announced = c.read_response();
  EXPECT_EQ(announced.status, 413);
  EXPECT_EQ(announced.error(), "the body is longer than 100000 bytes");
  Connection d(server.port());
  d.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  const std::string part(60'000, 'a');
  for (int i = 0; i < 3; ++i) d.send(fmt::format("{:x}\r\n{}\r\n", part.size(), part));
  EXPECT_EQ(d.read_response().status, 413);
  // A route without a limit takes any number of bytes, as they come.
  const std::string large(5'000'000, 'b');
  const Response counted = server.request("POST", "/count", large);
  EXPECT_EQ(counted.json()["bytes"], large.size());
  EXPECT_GE(counted.json()["parts"], 500);
}

TEST(Http, BodyArrivesInPieces) {
  std::atomic<int> seen{0};
  ServerSetup setup;
  setup.more = [&](RouteTable& table, ServeContext&) {
    table.add("POST", "/watch", [&](Exchange& x) {
      std::vector<std::byte> part(100);
      for (;;) {
        const Result<std::size_t> count = x.body().read(part);
        if (!count.ok() || *count == 0) break;
        seen += static_cast<int>(*count);
      }
      static_cast<void>(x.reply(Reply::empty()));
    });
  };
  const TestServer server(setup);
  Connection c(server.port());
  c.send("POST /watch HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nabcd");
  EXPECT_TRUE(TestServer::eventually([&] { return seen == 4; }));
  c.send("efgh");
  EXPECT_EQ(c.read_response().status, 200);
  EXPECT_EQ(seen, 8);
}

TEST(Http, Garbage) {
  ServerSetup setup = echo_setup();
  setup.http.header_bytes = 8192;
  const TestServer server(setup);
  const auto status_of = [&](const std::string& text) {
    Connection c(server.port());
    c.send(text);
    const Response r = c.read_response();
    EXPECT_TRUE(c.ended()) << text.substr(0, 100);
    return r.status;
  };
  EXPECT_EQ(status_of("hello\r\n\r\n"), 400);
  EXPECT_EQ(status_of(std::string("\x16\x03\x01\x02\x00\x01\x00\x01", 8)), 400);  // TLS
  EXPECT_EQ(status_of("GET / HTTP/9.9\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /health HTTP/1.1\r\nno colon\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /health HTTP/1.1\r\nA: " + std::string(10'000, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(status_of("GET /" + std::string(10'000, 'x') + " HTTP/1.1\r\n\r\n"), 431);
  EXPECT_EQ(status_of("POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST /echo HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
  const std::string chunked = "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(status_of(chunked + "zz\r\nabc\r\n"), 400);
  EXPECT_EQ(status_of(chunked + "3\r\nabcdef\r\n"), 400);
  EXPECT_EQ(status_of(chunked + "ffffffffffffffffffff\r\nabc\r\n"), 400);
  // And the server is as before.
  EXPECT_EQ(server.get("/health").status, 200);
}

TEST(Http, SlowAndHalfOpenClients) {
  ServerSetup setup = echo_setup();
  setup.http.idle = setup.http.stalled = setup.http.header = milliseconds(200);
  TestServer server(setup);
  Connection idle(server.port());
  EXPECT_TRUE(idle.ended());  // it never asked for anything
  Connection header(server.port());
  header.send("GET /hea");
  EXPECT_EQ(header.read_response().status, 408);
  Connection body(server.port());
  body.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(body.read_response().status, 408);
  EXPECT_TRUE(body.ended());
  // Half of a body, then the end.
  Connection half(server.port());
  half.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  ::shutdown(half.fd(), SHUT_WR);
  EXPECT_EQ(half.read_response().status, 400);
  // Nothing is left of them.
  idle.close(), header.close(), body.close(), half.close();
  EXPECT_TRUE(TestServer::eventually([&] { return server->http().connections() == 0; }));
}

TEST(Http, ConnectionsHaveALimit) {
  ServerSetup setup;
  setup.http.max_connections = 2;
  TestServer server(setup);
  Connection a(server.port());
  a.send_request("GET", "/health");
  EXPECT_EQ(a.read_response().status, 200);
  Connection b(server.port());
  b.send_request("GET", "/health");
  EXPECT_EQ(b.read_response().status, 200);
  {
    Connection c(server.port());
    EXPECT_EQ(c.read_response().status, 503);
  }
  a.close();
  EXPECT_TRUE(TestServer::eventually([&] { return server->http().connections() == 1; }));
  Connection d(server.port());
  d.send_request("GET", "/health");
  EXPECT_EQ(d.read_response().status, 200);
}

TEST(Http, Key) {
  ServerSetup setup;
  setup.http.api_key = "secret";
  const TestServer server(setup);
  for (const char* header : {"", "Authorization: Bearer secre\r\n", "Authorization: Bearer secrets\r\n",
                             "Authorization: secret\r\n", "Authorization: Bearer \r\n"}) {
    EXPECT_EQ(server.request("GET", "/v1/models", "", header).status, 401) << header;
    EXPECT_EQ(server.request("GET", "/no/such/route", "", header).status, 401) << header;
  }
  EXPECT_EQ(server.request("GET", "/v1/models", "", "Authorization: Bearer secret\r\n").status, 200);
  for (const char* path : {"/health", "/metrics", "/version", "/health_generate"}) {
    EXPECT_EQ(server.get(path).status, 200) << path;
  }
}

TEST(Http, AddressInUse) {
  const TestServer server;
  HttpOptions options;
  options.port = static_cast<std::uint16_t>(server.port());
  const auto second = HttpServer::start({}, options);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message.find("another server has it"), std::string::npos) << second.error().message;
  options.host = "no such host";
  EXPECT_FALSE(HttpServer::start({}, options).ok());
}

}  // namespace
}  // namespace octavo::serve

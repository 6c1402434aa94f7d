//! Tests a server that programs of several versions use: each reads what its own version has
//! written, to the byte, and neither reads nor removes anything of another one.

mod setting;

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{CacheGroup, CacheStore, Scope, StoredBody, StoredHead};
use larder_redis::{RedisOptions, RedisStore};
use larder_testkit::{head, key};
use setting::Server;

/// What codec 2 and layout 3 store for the page `/page` in the group `g`. Each line has a name, a
/// field of a hash or `-` for a string, and the value, both in hexadecimal digits. (The body is in
/// the record. Of the epoch, only the token is here.)
const GOLDEN: &str = include_str!("golden/2.3.txt");

/// Stores a value under a name. ARGV: field or `-`, value.
const STORE: &str = "local function bytes(hex) return (hex:gsub('..', function(digits)
  return string.char(tonumber(digits, 16)) end)) end
local value = bytes(ARGV[2])
if KEYS[1]:sub(-6) == ':epoch' then
  value = value .. redis.call('INFO', 'server'):match('run_id:(%x+)')
end
if ARGV[1] == '-' then return redis.call('SET', KEYS[1], value) end
return redis.call('HSET', KEYS[1], bytes(ARGV[1]), value)";

fn store_golden(server: &Server) {
    for line in GOLDEN.lines() {
        let [name, field, value] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let reply = server.cli(&["eval", STORE, "1", name, field, value]);
        assert!(["OK", "1"].contains(&&*reply), "{line}: {reply}");
    }
}

fn options() -> RedisOptions {
    setting::options().with_prefix("golden")
}

fn group() -> CacheGroup {
    CacheGroup::new("http://example.com", "g")
}

fn page() -> StoredHead {
    head(&[("cache-control", "max-age=3600"), ("cache-groups", "\"g\"")], &[])
}

/// Returns the names and serialized values of all keys that match a pattern.
fn contents(server: &Server, pattern: &str) -> Vec<(String, String)> {
    let names = server.cli(&["keys", pattern]);
    let dumped = names.lines().map(|name| (name.to_owned(), server.cli(&["dump", name])));
    let mut dumped: Vec<_> = dumped.collect();
    dumped.sort();
    dumped
}

/// A change of the layout that keeps its version would make the caches of a fleet unreadable while
/// it is updated, or worse, readable in part.
#[tokio::test]
async fn what_an_earlier_build_has_stored_is_read() {
    let server = Server::start(&[]);
    store_golden(&server);
    let store = RedisStore::connect(&server.url(), options()).await.expect("it connects");
    let found = store.lookup(&key("/page")).await.expect("lookup succeeds");
    assert_eq!(found.len(), 1);
    assert_eq!(*found[0].head, page(), "it is neither stale nor suspect");
    assert!(matches!(&found[0].body, StoredBody::Whole(body) if body == "golden"));
    let fresh = Arc::new(page());
    store.freshen(&key("/page"), found[0].id, Arc::clone(&fresh), fresh.keep_until()).await.expect("in time");
    assert_eq!(store.lookup(&key("/page")).await.expect("lookup succeeds").len(), 1);
    store.remove(Scope::Group(&group())).await.expect("it removes");
    assert!(store.lookup(&key("/page")).await.expect("lookup succeeds").is_empty());
    let stats = store.stats().await.expect("stats succeeds");
    assert_eq!((stats.entries, stats.corrupt), (1, 0));
}

/// Half of a fleet was updated. A purge on one side deleted nothing of the other, and neither side
/// has counted the entries of the other for damaged ones of its own.
#[tokio::test]
async fn the_entries_of_another_version_are_neither_read_nor_removed() {
    let server = Server::start(&[]);
    for other in ["2.2", "2.4", "3.3", "1.3"] {
        server.cli(&["flushall"]);
        store_golden(&server);
        for name in server.cli(&["keys", "golden:2.3:*"]).lines() {
            server.cli(&["rename", name, &name.replacen("2.3", other, 1)]);
        }
        let pattern = format!("golden:{other}:*");
        let before = contents(&server, &pattern);
        assert_eq!(before.len(), 5, "{before:?}");
        let store = RedisStore::connect(&server.url(), options()).await.expect("it connects");
        assert!(store.lookup(&key("/page")).await.expect("lookup succeeds").is_empty(), "{other}");
        let reserved = store.reserve(&key("/page")).await.expect("it reserves");
        let mut writer =
            reserved.begin(Arc::new(page()), None, page().keep_until()).await.expect("it begins");
        writer.write(Bytes::from_static(b"own")).await.expect("it takes a chunk");
        writer.commit().await.expect("it is stored");
        assert_eq!(store.stats().await.expect("stats succeeds").entries, 1, "{other}");
        let (page, group) = (key("/page"), group());
        for scope in [Scope::Key(&page), Scope::Group(&group), Scope::Prefix("http://"), Scope::All] {
            store.remove(scope).await.expect("it removes");
        }
        let stats = store.stats().await.expect("stats succeeds");
        assert_eq!((stats.entries, stats.corrupt), (0, 0), "{other}");
        assert_eq!(contents(&server, &pattern), before, "{other}");
    }
}

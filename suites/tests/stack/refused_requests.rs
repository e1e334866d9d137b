//! Single requests that a proxy has Postgres and Redis refuse: the clients get the meant errors, in pipelines and
//! transactions too, and the requests around them are served.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use secrecy::ExposeSecret;
use serde::Deserialize;
use shakedown::faults::{Direction, NetworkFault, Proxy};
use shakedown::stack::ProviderKind;
use sqlx::{Connection, Executor, PgConnection, query, raw_sql};
use url::Url;

use crate::support::harness::{TestStack, runtime};

fn fault(text: &str) -> NetworkFault {
    #[derive(Deserialize)]
    struct Written {
        fault: NetworkFault,
    }
    toml::from_str::<Written>(&format!("fault = {text}")).unwrap().fault
}

/// The same URL by way of the proxy.
fn through(url: &str, proxy: &Proxy) -> String {
    let mut url = Url::parse(url).unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    url.to_string()
}

fn upstream(url: &str) -> String {
    let url = Url::parse(url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
}

fn state<T>(result: Result<T, sqlx::Error>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(sqlx::Error::Database(error)) => error.code().unwrap().into_owned(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn postgres_refuses_a_statement_in_the_simple_and_the_extended_protocol_and_aborts_its_transaction() {
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "refused-sql").await;
        let url = stack.stack.endpoints().postgres.url.expose_secret().to_owned();
        let proxy = Proxy::start_postgres("127.0.0.1:0".parse().unwrap(), upstream(&url)).await.unwrap();
        let mut client = PgConnection::connect(&through(&url, &proxy)).await.unwrap();
        client.execute(raw_sql("create temporary table refused (number int)")).await.unwrap();
        let insert = "insert into refused values ($1)";
        // Prepared before the fault begins.
        assert_eq!(state(query(insert).bind(1).execute(&mut client).await), "done");
        let applied =
            proxy.apply(fault("{ sql_error = { sqlstate = \"40001\", from = 2, times = 2 } }"), Direction::Both);
        assert_eq!(state(query(insert).bind(2).execute(&mut client).await), "done");
        assert_eq!(state(query(insert).bind(3).execute(&mut client).await), "40001");
        assert_eq!(state(client.execute(raw_sql("insert into refused values (3)")).await), "40001");
        assert_eq!(state(client.execute(raw_sql("insert into refused values (3)")).await), "done");
        assert_eq!(proxy.revert(applied).connections(), 2);

        let deletes = fault("{ sql_error = { sqlstate = \"55P03\", statements = \"deletes\", times = 1 } }");
        let applied = proxy.apply(deletes, Direction::Both);
        client.execute(raw_sql("begin")).await.unwrap();
        assert_eq!(state(query(insert).bind(4).execute(&mut client).await), "done");
        assert_eq!(state(query("delete from refused").execute(&mut client).await), "55P03");
        assert_eq!(state(query(insert).bind(5).execute(&mut client).await), "25P02");
        client.execute(raw_sql("rollback")).await.unwrap();
        let count: i64 = sqlx::query_scalar("select count(*) from refused").fetch_one(&mut client).await.unwrap();
        assert_eq!((count, proxy.revert(applied).connections()), (3, 1));

        let applied = proxy.apply(fault("{ sql_error = { sqlstate = \"08006\", times = 1 } }"), Direction::Both);
        assert_eq!(state(query(insert).bind(6).execute(&mut client).await), "08006");
        assert!(client.execute(raw_sql("select 1")).await.is_err(), "the connection is closed");
        assert_eq!(proxy.revert(applied).connections(), 1);
        drop(client);
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}

#[test]
fn redis_refuses_a_command_in_a_pipeline_and_discards_its_transaction() {
    runtime().block_on(async {
        let stack = TestStack::launch(ProviderKind::Native, "refused-commands").await;
        let url = stack.stack.endpoints().redis.url.expose_secret().to_owned();
        let proxy = Proxy::start_redis("127.0.0.1:0".parse().unwrap(), upstream(&url)).await.unwrap();
        let client = redis::Client::open(through(&url, &proxy)).unwrap();
        let mut client = client.get_multiplexed_async_connection().await.unwrap();
        let scripts = "{ redis_error = { error = \"BUSY\", commands = \"scripts\", times = 1 } }";
        let applied = proxy.apply(fault(scripts), Direction::Both);
        let mut pipeline = redis::pipe();
        pipeline.cmd("SET").arg("refused").arg("x".repeat(100_000)).cmd("EVAL").arg("return 1").arg(0);
        pipeline.cmd("STRLEN").arg("refused").cmd("EVAL").arg("return 2").arg(0).ignore_errors();
        let replies: Vec<Result<redis::Value, redis::RedisError>> = pipeline.query_async(&mut client).await.unwrap();
        let told: Vec<String> = replies
            .into_iter()
            .map(|reply| {
                reply.map_or_else(|error| error.code().unwrap_or("?").to_owned(), |value| format!("{value:?}"))
            })
            .collect();
        assert_eq!(told, ["ok", "BUSY", "int(100000)", "int(2)"]);
        assert_eq!(proxy.revert(applied).connections(), 1);

        let applied = proxy.apply(fault("{ redis_error = { error = \"READONLY\" } }"), Direction::Both);
        let mut transaction = redis::pipe();
        transaction.atomic().cmd("SET").arg("refused").arg("y");
        let refused = transaction.query_async::<()>(&mut client).await.unwrap_err();
        assert!(refused.to_string().contains("ReadOnly") || refused.to_string().contains("EXECABORT"), "{refused}");
        let length: i64 = redis::cmd("STRLEN").arg("refused").query_async(&mut client).await.unwrap();
        assert_eq!((length, proxy.revert(applied).connections()), (100_000, 1));
        transaction.query_async::<()>(&mut client).await.unwrap();
        drop(client);
        assert_eq!(stack.stop().await, Vec::<String>::new());
    });
}

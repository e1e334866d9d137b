//! Random SQL from a grammar, with places in which any expression can stand.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// Stands for an expression in a statement: see [`Sql::with`].
const PLACE: char = '\u{1}';
/// Stands before and after a query behind WITH … AS, in which Postgres accepts statements that write.
const WITH: [char; 2] = ['\u{2}', '\u{3}'];
/// Deepest nesting of a generated statement.
const DEPTH: u32 = 4;

/// Forms of an expression: `E` is an expression, `Q` a query, `P` a place.
const EXPRESSIONS: &[&str] = &[
    "( E )",
    "E + E",
    "E || E",
    "- E",
    "not E",
    "E and E",
    "E or E",
    "E :: text",
    "cast( E as numeric(10, 2) )",
    "E operator(pg_catalog.+) E",
    "E collate \"C\"",
    "E at time zone E",
    "E is not null",
    "E is distinct from E",
    "E like E escape 'x'",
    "E ~* E",
    "E <=> E",
    "E -> E ->> E",
    "E @> E",
    "E in ( E , E )",
    "E not in ( Q )",
    "E between E and E",
    "E = any( E )",
    "E <> all( select E from F )",
    "( E , E ) = ( E , E )",
    "case when E then E when E then E else E end",
    "case E when E then E end",
    "array[ E , E ]",
    "array( Q )",
    "( array[ E ] )[ E ]",
    "( array[ E ] )[ E : E ]",
    "( E ).part",
    "row( E , E )",
    "( Q )",
    "exists ( Q )",
    "coalesce( E , E )",
    "greatest( E , nullif( E , E ) )",
    "lower( E )",
    "make_interval( days => E )",
    "make_interval( days := E )",
    "count( distinct E )",
    "count(*) filter ( where E )",
    "string_agg( E , E order by E desc nulls last )",
    "percentile_cont( E ) within group ( order by E )",
    "sum( E ) over ( partition by E order by E rows between E preceding and current row )",
    "lag( E , E ) over w",
    "percentile_cont( E ) within group ( order by E ) filter ( where E )",
    "xmlforest( E as a )",
    "xmlconcat( E , E )",
    "json_object( 'a' : E )",
    "json_object( 'a' value E absent on null )",
    "json_array( E , E null on null )",
    "json_arrayagg( E order by E )",
    "json_objectagg( E : E )",
    "json_exists( E , '$.a' )",
    "E is json object",
    "E is normalized",
    "normalize( E , nfc )",
    "E similar to E escape E",
    "E ilike any ( E )",
    "merge_action()",
    "grouping( E , E )",
    "( E )[ E ][ E ]",
    "( E ).part.other",
    "@ E",
    "|/ E",
    "~ E",
    "!! E",
    "E ^ E % E",
    "E is true",
    "E is unknown",
    "numeric '1'",
    "ceil( E )",
    "floor( E )",
    "left( E , E )",
    "mod( E , E )",
    "a.b.c( E )",
    "\"f\"( E )",
    "( E , E ) in ( Q )",
    "row( E , E ) is null",
    "cast( E as text[] )",
    "E ::double precision",
    "E ::pg_catalog.int4",
    "( interval '1' day ) + E",
    "treat( E as a )",
    "current_date + E",
    "timestamp with time zone '2026-01-01' + E",
    "extract( epoch from E )",
    "substring( E from E for E )",
    "position( E in E )",
    "trim( both E from E )",
    "overlay( E placing E from E for E )",
    "interval '1' * E",
    "date_trunc( 'day' , E )",
    "E overlaps E",
    "P",
    "P",
];

/// Expressions without others.
const LEAVES: &[&str] = &[
    "PLACE",
    "1",
    "1.5e3",
    "null",
    "true",
    "current_timestamp",
    "t.a",
    "\"quoted\"\"name\"",
    "größe",
    "a$b",
    "'it''s'",
    "'pg_read_file(1)'",
    "E'\\\\\\''",
    "$$;'$$",
    "$q$pg_read_file($$1$$)$q$",
    "U&'\\0041'",
    "b'01'",
    "x'1F'",
    "('{\"a\":1}'::jsonb)",
    "date '2026-01-01'",
    "now()",
    "gen_random_uuid()",
];

/// Forms of a query: `F` is a table, `W` a query behind WITH.
const QUERIES: &[&str] = &[
    "select E",
    "select E as one , E two , t.* from F",
    "select all E from F where E",
    "select distinct on ( E ) E from F where E group by E , E having E order by E asc nulls first limit E offset E",
    "select E from F order by E using > , E fetch first 3 rows only",
    "select E from F limit ( Q )",
    "select E from F where E offset ( E ) rows",
    "select E from F window w as ( partition by E order by E ) , v as ( w range unbounded preceding )",
    "select E from F group by grouping sets ( ( E , E ) , ( E ) , () )",
    "select E from F group by rollup ( E , E ) , cube ( E )",
    "values ( E , E ) , ( E , E )",
    "select from F",
    "select E from F group by distinct grouping sets ( ( E ) , rollup ( E , E ) )",
    "select E from F group by ()",
    "select E from F window w as ( order by E rows between E preceding and E following )",
    "select E from F where E union all ( Q )",
    "select E except ( Q ) order by 1 limit E",
    "select E intersect select E",
    "with one as ( W ) select E from one",
    "with one(a) as materialized ( W ) , two as not materialized ( W ) select E from one , two",
    "with recursive one(a) as ( select E union all select E from one where E ) select E from one",
];

/// Forms of a table.
const TABLES: &[&str] = &[
    "t",
    "public.t as t",
    "only t",
    "t as other(a, b)",
    "( Q ) as t",
    "( values ( E , E ) ) as t(a, b)",
    "t , lateral ( Q ) as u",
    "t join u on E",
    "t left join lateral ( Q ) as u on E",
    "t natural join u cross join v",
    "t full join u using (a)",
    "generate_series( E , E ) as g(n)",
    "unnest( E ) with ordinality as u(a, b)",
    "t , lateral generate_series( 1 , E ) as g",
    "jsonb_to_recordset( E ) as r(a int, b text)",
    "t tablesample bernoulli ( 10 )",
    "t tablesample bernoulli ( E )",
    "json_table( E , '$[*]' columns ( a int path '$.a' ) ) as j",
    "xmltable( 'a' passing E columns b text ) as x",
    "jsonb_to_recordset( E ) with ordinality as r",
    "f( E ) as r(a int)",
    "lateral ( Q ) u(a)",
    "P as f",
    "t , lateral P as f(a)",
];

/// Random statements that only read.
pub(super) struct Grammar(StdRng);

/// A statement with places for expressions and queries.
pub(super) struct Sql(String);

impl Grammar {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A statement with at least one place for an expression.
    pub(super) fn statement(&mut self) -> Sql {
        loop {
            let form =
                *self.one_of(&["Q", "Q", "Q", "Q;", "explain Q", "explain (analyze, costs off) select E from F"]);
            let text = self.expand(form, DEPTH);
            if text.contains(PLACE) {
                return Sql(self.spaced(&text));
            }
        }
    }

    /// One of several values.
    pub(super) fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        values.choose(&mut self.0).unwrap()
    }

    /// A form with random forms in place of its letters.
    fn expand(&mut self, form: &str, depth: u32) -> String {
        let mut words = Vec::new();
        for word in form.split(' ') {
            words.push(match word {
                "E" if depth == 0 || self.0.random_ratio(1, 3) => {
                    self.one_of(LEAVES).replace("PLACE", &PLACE.to_string())
                }
                "E" => {
                    let form = *self.one_of(EXPRESSIONS);
                    format!("( {} )", self.expand(form, depth - 1))
                }
                "Q" | "Q;" if depth == 0 => word.replace('Q', &format!("select {PLACE}")),
                "Q" | "Q;" => {
                    let form = *self.one_of(QUERIES);
                    word.replace('Q', &self.expand(form, depth - 1))
                }
                "W" => format!("{}{}{}", WITH[0], self.expand("Q", depth), WITH[1]),
                "F" if depth == 0 => "t".to_owned(),
                "F" => {
                    let form = *self.one_of(TABLES);
                    self.expand(form, depth - 1)
                }
                "P" => PLACE.to_string(),
                other => other.to_owned(),
            });
        }
        words.join(" ")
    }

    /// A text with other white space and comments in place of its spaces, and words in other cases.
    fn spaced(&mut self, text: &str) -> String {
        let spaces = [
            " ",
            " ",
            " ",
            " ",
            "\n",
            "\t",
            "\r\n",
            " /* ' */ ",
            " /* /* \" */ */ ",
            " -- $$ '\n",
            " -- pg_read_file(1)\r",
        ];
        let words: Vec<String> = text
            .split(' ')
            .map(|word| match self.0.random_range(0..4) {
                0 if word.chars().all(|letter| letter.is_ascii_lowercase()) => word.to_uppercase(),
                _ => format!("{word}{}", self.one_of(&spaces)),
            })
            .collect();
        words.join(" ")
    }

    /// A call of a function, in one of the ways to write it.
    pub(super) fn call(&mut self, function: &str) -> String {
        let (schema, name) = match function.split_once('.') {
            Some((schema, name)) => (format!("{schema}."), name),
            None => (
                self.one_of(&["", "", "pg_catalog.", "PG_Catalog /* . */ . ", "\"pg_catalog\"."]).to_string(),
                function,
            ),
        };
        let name = match self.0.random_range(0..4) {
            0 => name.to_uppercase(),
            1 => format!("\"{name}\""),
            _ => name.to_owned(),
        };
        let space = *self.one_of(&["", "", " ", "\n", "/* ( */", " -- (\n"]);
        let arguments = *self.one_of(&["", "'a'", "a => 'b'", "1, null", "(select 1)"]);
        format!("{schema}{name}{space}({arguments})")
    }
}

impl Sql {
    /// How many places for an expression the statement has.
    pub(super) fn places(&self) -> usize {
        self.0.matches(PLACE).count()
    }

    /// The statement with `call` in one of its places, and a harmless function in the others.
    pub(super) fn with(&self, place: Option<usize>, call: &str) -> String {
        let mut parts = self.0.split(PLACE);
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (index, part) in parts.enumerate() {
            text.push_str(if place == Some(index) { call } else { "random()" });
            text.push_str(part);
        }
        text.replace(WITH, "")
    }

    /// How many queries stand behind WITH.
    pub(super) fn queries(&self) -> usize {
        self.0.matches(WITH[0]).count()
    }

    /// The statement with `other` in place of one of its queries behind WITH.
    pub(super) fn with_query(&self, number: usize, other: &str) -> String {
        let begin = self.0.match_indices(WITH[0]).nth(number).map_or(0, |(at, _)| at);
        let mut depth = 0;
        let is_end = |letter: char| {
            depth += i32::from(letter == WITH[0]) - i32::from(letter == WITH[1]);
            letter == WITH[1] && depth == 0
        };
        let end = begin + self.0[begin..].find(is_end).unwrap();
        format!("{}{other}{}", &self.0[..begin], &self.0[end..]).replace(WITH, "").replace(PLACE, "random()")
    }
}

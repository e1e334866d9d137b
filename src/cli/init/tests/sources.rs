//! Each kind of source, by a small project.

use rstest::rstest;

use super::{Answers, Written};

const PACKAGE: (&str, &str) =
    ("package.json", r#"{"dependencies":{"bullmq":"5"},"scripts":{"start":"node worker.js"}}"#);
const REQUIREMENTS: (&str, &str) = ("requirements.txt", "bullmq==3.4.4\n");

/// A Node project with this source.
fn node(source: &str) -> Written {
    Written::of(&[PACKAGE, ("worker.ts", source)])
}

/// A Python project with this source.
fn python(source: &str) -> Written {
    Written::of(&[REQUIREMENTS, ("worker.py", source)])
}

#[test]
fn a_node_project_is_started_as_its_scripts_say() {
    let project = Written::of(&[
        (
            "package.json",
            r#"{"scripts":{"build":"tsc","worker":"node dist/worker.js"},"dependencies":{"bullmq":"^5.81.0"}}"#,
        ),
        ("package-lock.json", "{}"),
        (
            "src/worker.ts",
            "new Worker('docs', f, {}); process.env.REDIS_HOST; process.env['QDRANT_URL']; process.env.MY_FLAG; \
             async function f(job) { job.data.documentId; job.data.content }",
        ),
        ("node_modules/x/index.js", "process.env.JINA_API_KEY"),
    ]);
    assert_eq!(project.command(), "node dist/worker.js");
    assert_eq!(project.contract.worker.build.as_ref().unwrap().command, ["npm", "run", "build"]);
    assert_eq!(project.env("REDIS_HOST").as_deref(), Some("{{redis.host}}"));
    assert_eq!(project.env("JINA_API_KEY"), None, "what libraries read is not the worker's");
    assert_eq!(project.env("MY_FLAG"), None);
    assert_eq!(project.contract.queue.name.as_deref(), Some("docs"));
    assert_eq!(project.data(), ["content", "documentId"]);
    assert!(project.page.guessed.iter().any(|line| line.contains("MY_FLAG")), "{:?}", project.page.guessed);
    assert!(project.page.read.iter().any(|line| line.contains("package.json:1")), "{:?}", project.page.read);
}

#[test]
fn a_python_project_is_started_as_a_module() {
    let project = Written::of(&[
        ("pyproject.toml", "[project]\nname = \"ingest\"\ndependencies = [\"bullmq>=3\"]"),
        (
            "ingest/__main__.py",
            "import os\nfrom bullmq import Worker\nos.environ['DATABASE_URL']\nWorker(os.getenv(\"QUEUE_NAME\"), work)",
        ),
    ]);
    assert_eq!(project.command(), "python3 -m ingest");
    assert_eq!(project.env("QUEUE_NAME").as_deref(), Some("{{queue.name}}"));
    assert!(project.contract.queue.name.is_none());
}

#[test]
fn a_rust_project_is_built_and_run() {
    let project = Written::of(&[("Cargo.toml", "[package]\nname = \"w\"\n[dependencies]\nbullmq-official = \"1\"")]);
    assert_eq!(project.command(), "cargo run --release --quiet");
}

#[test]
fn a_dockerfile_alone_gives_an_image_and_an_empty_directory_gives_a_guess() {
    assert!(Written::of(&[("Dockerfile", "FROM scratch")]).command().starts_with("image "));
    let empty = Written::of(&[]);
    assert!(empty.page.guessed.iter().any(|line| line.contains("no worker was found")), "{:?}", empty.page.guessed);
}

#[test]
fn a_package_of_a_workspace_is_the_workers_own() {
    let project = Written::of(&[
        ("package.json", r#"{"private":true,"workspaces":["packages/*"]}"#),
        ("pnpm-lock.yaml", ""),
        ("packages/api/package.json", r#"{"scripts":{"start":"node api.js"}}"#),
        (
            "packages/worker/package.json",
            r#"{"scripts":{"start":"NODE_ENV=x node w.js"},"dependencies":{"bullmq":"5"}}"#,
        ),
        (
            "packages/worker/w.js",
            "const { Worker } = require('bullmq');\nnew Worker('docs', async (job) => job.data.text);",
        ),
    ]);
    assert_eq!(project.command(), "pnpm run --silent start");
    assert!(project.contract.worker.cwd.ends_with("packages/worker"));
}

#[rstest]
#[case::procfile(("Procfile", "web: node web.js\nworker: node jobs.js\n"), "node jobs.js")]
#[case::dockerfile(("Dockerfile", "FROM a\nCMD [\"x\"]\nFROM b\nENTRYPOINT [\"node\"]\nCMD [\"jobs.js\"]\n"), "node jobs.js")]
#[case::compose(("compose.yaml", "services:\n  my-worker:\n    build: .\n    command: node jobs.js\n"), "node jobs.js")]
fn a_worker_without_a_script_is_started_as_elsewhere(#[case] file: (&str, &str), #[case] command: &str) {
    let package = ("package.json", r#"{"dependencies":{"bullmq":"5"}}"#);
    assert_eq!(Written::of(&[package, file]).command(), command);
}

#[rstest]
#[case::nullish("new Worker(process.env.MY_QUEUE ?? 'documents', f)")]
#[case::or("const name = process.env.MY_QUEUE || 'documents'; new Worker(name, f)")]
#[case::destructured("const { MY_QUEUE } = process.env; new Worker(MY_QUEUE!, f)")]
#[case::helper("function need(name: string) { return process.env[name]!; }\nnew Worker(need('MY_QUEUE'), f)")]
#[case::of_an_object("const config = { queue: { name: process.env.MY_QUEUE } }; new Worker(config.queue.name, f)")]
#[case::zod(
    "const env = z.object({ MY_QUEUE: z.string().default('documents') }).parse(process.env); new Worker(env.MY_QUEUE, f)"
)]
#[case::envalid(
    "const env = cleanEnv(process.env, { MY_QUEUE: str({ default: 'documents' }) }); new Worker(env.MY_QUEUE, f)"
)]
#[case::of_a_class(
    "class W { constructor(private config: Config) {} run() { new Worker(this.config.queue, f); } }\nconst c = { queue: process.env.MY_QUEUE };"
)]
#[case::nest(
    "class W { run(configService: ConfigService) { new Worker(configService.getOrThrow<string>('MY_QUEUE'), f); } }"
)]
fn a_queue_that_a_variable_names_is_given_by_the_variable(#[case] source: &str) {
    let project = node(&format!("import {{ Worker }} from 'bullmq';\n{source}"));
    assert_eq!(project.env("MY_QUEUE").as_deref(), Some("{{queue.name}}"), "{}", project.page.text);
    assert_eq!(project.contract.queue.name, None);
    assert_eq!(project.contract.queue.prefix.as_deref(), Some("bull"));
}

#[rstest]
#[case::pydantic(
    "class Settings(BaseSettings):\n    my_queue: str = 'documents'\n\nsettings = Settings()\nWorker(settings.my_queue, f)"
)]
#[case::pydantic_prefix(
    "class Settings(BaseSettings):\n    model_config = SettingsConfigDict(env_prefix='MY_')\n    queue: str\n\nWorker(Settings().queue, f)"
)]
#[case::pydantic_alias(
    "class S(BaseSettings):\n    name: str = Field(validation_alias='MY_QUEUE')\n\ns = S()\nWorker(s.name, f)"
)]
#[case::environ_get("Worker(os.environ.get('MY_QUEUE', 'documents'), f)")]
#[case::or("QUEUE = os.getenv('MY_QUEUE') or 'documents'\nWorker(QUEUE, f)")]
fn the_same_in_python(#[case] source: &str) {
    let project = python(&format!("import os\nfrom bullmq import Worker\n{source}\n"));
    assert_eq!(project.env("MY_QUEUE").as_deref(), Some("{{queue.name}}"), "{}", project.page.text);
}

#[rstest]
#[case::import("import { QUEUE } from './names.js';\nnew Worker(QUEUE, f)", ("names.ts", "export const QUEUE = 'documents';"))]
#[case::alias("import { QUEUE as q } from '@/names';\nnew Worker(q, f)", ("src/names.ts", "export const QUEUE = 'documents';"))]
#[case::of_an_object("import { names } from './names';\nnew Worker(names.ingest, f)", ("names/index.ts", "export const names = { ingest: 'documents' } as const;"))]
#[case::enumeration(
    "import { Queues } from './names';\nnew Worker(Queues.Ingest, f)",
    ("names.ts", "export enum Queues { Ingest = 'documents', Mail = 'mail' }")
)]
#[case::exported_again("import { QUEUE } from './all';\nnew Worker(QUEUE, f)", ("all.ts", "export * from './worker';\nexport const QUEUE = 'documents';"))]
#[case::template("import { BASE } from './names';\nnew Worker(`${BASE}uments`, f)", ("names.js", "export const BASE = 'doc';"))]
fn a_constant_is_followed_into_the_file_that_it_is_imported_from(#[case] source: &str, #[case] other: (&str, &str)) {
    let source = format!("import {{ Worker }} from 'bullmq';\n{source}");
    let project = Written::of(&[PACKAGE, ("worker.ts", &source), other]);
    assert_eq!(project.contract.queue.name.as_deref(), Some("documents"), "{}", project.page.text);
}

#[test]
fn a_constant_of_python_is_followed_too() {
    let project = Written::of(&[
        REQUIREMENTS,
        ("app/names.py", "QUEUE = \"docu\" \"ments\"\n"),
        ("app/worker.py", "from bullmq import Worker\nfrom .names import QUEUE\n\nWorker(QUEUE, f)\n"),
    ]);
    assert_eq!(project.contract.queue.name.as_deref(), Some("documents"), "{}", project.page.text);
}

#[rstest]
#[case::destructured("async ({ data }) => { const { docId, body } = data; }")]
#[case::typed("async (job: Job<Order>) => work(job)")]
#[case::cast("async (job) => { const order = job.data as Order; }")]
#[case::schema("async (job) => { const order = schema.parse(job.data); }")]
#[case::through_calls("async (job) => { await handle(job.data); }")]
#[case::of_the_worker("async (job) => {}")]
fn the_fields_of_a_job_are_found_wherever_they_are_read(#[case] processor: &str) {
    let generic = if processor.ends_with("{}") { "<Order>" } else { "" };
    let project = node(&format!(
        "import {{ Job, Worker }} from 'bullmq';\ninterface Order {{ docId: string; body: string; note?: string }}\n\
         const schema = z.object({{ docId: z.string(), body: z.string(), note: z.string().optional() }});\n\
         const handle = async (order) => {{ store(order.docId, order['body']); }};\n\
         new Worker{generic}('docs', {processor});"
    ));
    assert_eq!(project.data(), ["body", "docId"], "{}", project.page.text);
}

#[test]
fn the_jobs_of_a_switch_and_of_a_match_have_fields_of_their_own() {
    let project = node(
        "import { Worker } from 'bullmq';\nnew Worker('docs', async (job) => {\n  switch (job.name) {\n    case 'purge': return drop(job.data.docId);\n    \
         case 'tell': return mail(job.data.address);\n    case 'learn': return store(job.data.docId, job.data.markdown);\n  }\n});",
    );
    assert_eq!((project.contract.queue.job.name.as_str(), project.data()), ("learn", vec!["docId", "markdown"]));
    assert_eq!(project.contract.queue.delete.as_ref().unwrap().name, "purge");
    let project = python(
        "from bullmq import Worker\n\nasync def process(job, token):\n    match job.name:\n        case \"drop\":\n            pass\n        \
         case \"delete\":\n            forget(job.data[\"file_id\"])\n        case \"learn\":\n            \
         learn(job.data[\"file_id\"], job.data[\"text\"], tenant=job.data[\"tenant_id\"])\n\nWorker(\"docs\", process)\n",
    );
    assert_eq!((project.contract.queue.job.name.as_str(), project.data()), ("learn", vec!["file_id", "text"]));
    assert!(project.page.guessed.iter().any(|line| line.contains("`tenant_id`")), "{:?}", project.page.guessed);
}

#[test]
fn the_options_of_a_job_are_those_with_which_it_is_added() {
    let project = node(
        "import { Queue, Worker } from 'bullmq';\nconst QUEUE = 'docs';\nconst queue = new Queue(QUEUE, { defaultJobOptions: { attempts: 2 } });\n\
         const retries = { backoff: { type: 'fixed', delay: 3 * 1000 } };\n\
         export const enqueue = (id, text) => queue.add('ingest', { docId: id, text }, { ...retries, attempts: 7 });\n\
         new Worker(QUEUE, async (job) => run(job.data));",
    );
    let job = &project.contract.queue.job;
    assert_eq!((job.name.as_str(), job.attempts), ("ingest", Some(7)));
    assert_eq!(job.backoff.map(|backoff| backoff.delay), Some(3000));
    assert_eq!(project.data(), ["docId", "text"]);
}

#[rstest]
#[case::drizzle(
    "schema.ts",
    "export const files = pgTable('files', { key: uuid('file_key').primaryKey(), state: text('state'), chunkCount: integer('n_chunks') });"
)]
#[case::prisma(
    "prisma/schema.prisma",
    "model File {\n  key String @id @map(\"file_key\")\n  state String // of ingestion\n  nChunks Int @map(\"n_chunks\")\n\n  @@map(\"files\")\n}\n"
)]
#[case::sql(
    "schema.sql",
    "create table app.files (file_key uuid, state text not null, n_chunks int, primary key (file_key));"
)]
#[case::sqlalchemy(
    "models.py",
    "class File(Base):\n    __tablename__ = \"files\"\n    key: Mapped[str] = mapped_column(\"file_key\", primary_key=True)\n    state: Mapped[str]\n    n_chunks = Column(Integer)\n"
)]
#[case::alembic(
    "migrations/1.py",
    "op.create_table(\"files\", sa.Column(\"file_key\", sa.Text(), primary_key=True), sa.Column(\"state\", sa.Text()), sa.Column(\"n_chunks\", sa.Integer()))\n"
)]
#[case::supabase(
    "rows.ts",
    "// supabase\nconst s = createClient(a, b);\nawait s.from('files').update({ state: 'stored', n_chunks: 1 }).eq('file_key', key);"
)]
#[case::in_a_text(
    "rows.ts",
    "await pool.query(`update files set state = 'stored', n_chunks = $1 where file_key = $2`);\nawait pool.query('insert into files (file_key, state) values ($1, $2)')"
)]
fn a_table_is_found_in_every_kind_of_definition(#[case] path: &str, #[case] text: &str) {
    let worker = "import { Worker } from 'bullmq';\nnew Worker('docs', async (job) => save(job.data.text, { state: ok ? 'stored' : 'broken' }));";
    let project = Written::of(&[PACKAGE, ("worker.ts", worker), (path, text)]);
    let rows = project.contract.evidence.postgres.as_ref().unwrap();
    let read = (rows.table.as_deref(), rows.status.as_str(), rows.chunks.as_deref());
    assert_eq!(read, (Some("files"), "state", Some("n_chunks")), "{}", project.page.text);
    assert_eq!(rows.done, "stored");
    if !matches!(path, "rows.ts") {
        assert_eq!(rows.id, "file_key", "{}", project.page.text);
    }
}

#[rstest]
#[case(
    "splitter = RecursiveCharacterTextSplitter.from_tiktoken_encoder(chunk_size=SIZE, chunk_overlap=16)",
    "tokens = { at_most = 256 }"
)]
#[case("splitter = TokenTextSplitter(chunk_size=SIZE)", "tokens = { at_most = 256 }")]
#[case(
    "splitter = RecursiveCharacterTextSplitter(chunk_size=int(os.environ.get('N', '256')))",
    "characters = { at_most = 256 }"
)]
fn the_sizes_of_a_splitter_are_read_in_its_unit(#[case] source: &str, #[case] line: &str) {
    let project = python(&format!("import os\nSIZE = 256\n{source}\n"));
    assert!(project.page.text.contains(line), "{}", project.page.text);
}

#[test]
fn the_fields_of_points_and_a_fixed_collection_are_read() {
    let project = node(
        "import { Worker } from 'bullmq';\nconst NAME = 'articles';\nnew Worker('docs', async (job) => {\n  \
         await qdrant.upsert(NAME, { points: [{ id, vector, payload: { articleId: job.data.id, position: i, body: job.data.text } }] });\n});",
    );
    let qdrant = &project.contract.evidence.qdrant;
    assert_eq!(qdrant.collection.as_deref(), Some("articles"));
    assert_eq!(qdrant.document, "articleId");
    assert_eq!((qdrant.chunk.as_deref(), qdrant.text.as_deref()), (Some("position"), Some("body")));
}

#[test]
fn what_cannot_be_read_is_asked_and_an_empty_answer_accepts_the_guess() {
    let answers = ["articles", "", "", "contents"].map(str::to_owned);
    let project = Written::answered(&[PACKAGE], Answers::Listed(answers.into()));
    assert_eq!(project.contract.queue.name.as_deref(), Some("articles"));
    assert_eq!(project.contract.queue.job.name, "ingest");
    assert_eq!(project.data(), ["contents", "documentId"]);
    assert!(project.page.text.contains("name = \"articles\"   # as you said"), "{}", project.page.text);
}

#[test]
fn a_thread_and_a_set_are_no_worker_and_no_queue() {
    let project = node(
        "import { Worker } from 'node:worker_threads';\nconst seen = new Set();\nnew Worker('./thread.js', options);\nseen.add('a');",
    );
    assert_eq!(project.contract.queue.name, None, "{}", project.page.text);
}

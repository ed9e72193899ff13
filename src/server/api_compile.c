/* POST /compile, /compile/batch, /optimize/{id}.
 *
 *   bytes ─ digest ─► answers (memory) ─► parsed ─ key ─► answers ─► catalogue ─► pool
 *              level 1                         level 2       level 3      miss
 *
 * An answer found at one level is stored in the levels left of it. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "server/api.h"
#include "server/shelf.h"
#include "server/metrics.h"
#include "server/pool.h"

#define BATCH_MOST 256
/* Larger bodies are not hashed on the connection's thread: this takes a tenth of a millisecond
 * or two. */
#define HASHED_AT_ONCE ((size_t)256 << 10)

/* One compilation that a request asks for. */
struct wish {
    struct ask ask;
    struct arena *arena; /* the request's */
    const char *client, *parent;
    uint32_t priority;
    uint8_t bytes_key[SHA256_BYTES]; /* level 1 */
    bool has_bytes_key;
    uint64_t epoch; /* of answers, from before the first look-up */
};

static void digest_body(const struct request *request, uint8_t out[SHA256_BYTES])
{
    sha256(request->body ? request->body : "", request->body_bytes, out);
}

static void key_bytes(const char *hex, uint8_t out[SHA256_BYTES])
{
    hex_decode(hex, out, SHA256_BYTES);
    out[31] ^= 1; /* differs from the digest of any body */
}

static enum handled reply_shelved(struct request *request, struct shelf_value *value)
{
    metrics_add(request->server->metrics, METRIC_CACHE, "memory", 1);
    registry_used(request->server->registry, value->kernel);
    request->reply.release = shelf_give_back;
    request->reply.held = value;
    return reply_text(request, 200, "application/json", value->data, value->size_bytes);
}

static void keep(struct server *server, const struct wish *wish, const char *kernel,
                 const json_t *answer)
{
    uint8_t key[SHA256_BYTES];
    struct strbuf text;
    strbuf_init(&text, wish->arena);
    json_write_canonical(answer, &text);
    char *copy = malloc(text.size_bytes + 1);
    struct shelf_value *value = copy ? shelf_value_new(copy, text.size_bytes) : NULL;
    if (!value) {
        free(copy);
        return;
    }
    memcpy(copy, text.data, text.size_bytes + 1);
    snprintf(value->kernel, sizeof value->kernel, "%s", kernel);
    key_bytes(wish->ask.key, key);
    shelf_add(server->answers, key, value, wish->epoch);
    if (wish->has_bytes_key)
        shelf_add(server->answers, wish->bytes_key, value, wish->epoch);
    shelf_unref(value);
}

enum found {
    NOT_FOUND, /* failed: err says why */
    FOUND,     /* *out_answer is the answer, owned by the caller */
    MISSED,    /* it may be compiled */
    SUBMITTED  /* the waiter is called on a slot's thread, perhaps before this returns: what it
                  belongs to must not be accessed any more */
};

/* Whether the key is known to fail; err then says why. */
static bool find_failed(struct server *server, struct wish *wish, struct error *err)
{
    const struct attempt attempt = attempt_of(&server->settings, &wish->ask);
    struct error why;
    bool settled;
    if (!registry_find_failure(server->registry, &attempt, wish->arena, &settled, &why, err) ||
        !settled)
        return false;
    metrics_add(server->metrics, METRIC_CACHE, "failure", 1);
    *err = why;
    return true;
}

/* Level 3. A miss is more expensive than the look-up, so whether the pool has room is checked
 * before. */
static enum found find_published(struct server *server, struct wish *wish, json_t **out_answer,
                                 const char **out_miss, struct error *err)
{
    struct key_record *key;
    struct kernel_record *kernel;
    if (!server->settings.enable_kernel_cache) {
        *out_miss = "the cache is off";
        return MISSED;
    }
    if (!registry_find(server->registry, wish->ask.key, wish->arena, &key, &kernel, err))
        return NOT_FOUND;
    json_t *answer = kernel ? answer_again(key->answer, "memory", kernel->evidence) : NULL;
    if (answer) {
        keep(server, wish, kernel->head.id, answer);
        registry_used(server->registry, kernel->head.id);
        json_decref(answer);
        metrics_add(server->metrics, METRIC_CACHE, "catalogue", 1);
        *out_answer = answer_again(key->answer, "catalogue", kernel->evidence);
        return FOUND;
    }
    if (!pool_admits(server->pool, wish->client, wish->ask.key, err) ||
        find_failed(server, wish, err))
        return NOT_FOUND;
    struct key_record *wanted = record_new(RECORD_key, wish->arena);
    wanted->head.id = wish->ask.key;
    wanted->content = wish->ask.content;
    wanted->hints = wish->ask.hints_text;
    wanted->compiler = wish->ask.compiler;
    wanted->name = wish->ask.cache_key;
    return registry_why(server->registry, wanted, wish->arena, out_miss, err) ? MISSED : NOT_FOUND;
}

/* Makes a task with copies of everything in the request's arena. */
static struct task *make_task(const struct wish *wish, const char *miss, struct error *err)
{
    struct task *task = task_new();
    jmp_buf no_memory;
    if (!task || setjmp(no_memory) != 0) {
        task_free(task);
        fail(err, ERR_NOMEM, "no memory for a compilation");
        return NULL;
    }
    task->arena.oom = &no_memory;
    struct arena *arena = &task->arena;
    ask_copy(&wish->ask, arena, &task->ask);
    task->client = arena_strdup(arena, wish->client);
    task->parent = arena_strdup(arena, wish->parent);
    task->miss = arena_strdup(arena, miss);
    task->priority = wish->priority;
    task->arena.oom = NULL;
    return task;
}

/* find_published, with running out of memory as an error instead of a jump. */
static enum found find_guarded(struct server *server, struct wish *wish, json_t **out_answer,
                               const char **out_miss, struct error *err)
{
    jmp_buf no_memory, *outer = wish->arena->oom;
    if (setjmp(no_memory) != 0) {
        wish->arena->oom = outer;
        fail(err, ERR_NOMEM, "no memory for this request");
        return NOT_FOUND;
    }
    wish->arena->oom = &no_memory;
    enum found found = find_published(server, wish, out_answer, out_miss, err);
    wish->arena->oom = outer;
    return found;
}

static enum found find_or_submit(struct request *request, struct wish *wish, struct waiter *waiter,
                                 json_t **out_answer, struct error *err)
{
    struct server *server = request->server;
    const char *miss = NULL;
    enum found found = find_guarded(server, wish, out_answer, &miss, err);
    if (found != MISSED)
        return found;
    metrics_add(server->metrics, METRIC_CACHE, "none", 1);
    struct task *task = make_task(wish, miss, err);
    if (!task)
        return NOT_FOUND;
    request_wait(request);
    return pool_submit(server->pool, task, waiter, err) ? SUBMITTED : NOT_FOUND;
}

/* The answer to a request to optimise, with `parent` as the kernel that it improves on, whichever
 * the stored answer has. Takes ownership of the answer. */
static json_t *with_parent(json_t *answer, const char *parent)
{
    if (*parent == '\0')
        return answer;
    json_t *copy = json_copy(answer);
    json_decref(answer);
    json_object_set_new(copy, "parent", json_string(parent));
    return copy;
}

/* A compilation that a single request waits for. */
struct single {
    struct wish wish;
    struct waiter waiter;
    struct request *request;
    const struct outcome *outcome; /* valid while the waiter is called */
};

/* Adds a Server-Timing header with the duration of the stages. */
static void tell_times(struct request *request, const json_t *answer)
{
    const json_t *metadata = json_object_get(answer, "metadata");
    json_t *stages = json_object_get(metadata, "stages_ms"), *ms;
    struct strbuf text;
    const char *name;
    strbuf_init(&text, &request->arena);
    json_object_foreach(stages, name, ms)
        strbuf_printf(&text, "%s;dur=%.3f, ", name, json_number_value(ms));
    strbuf_printf(&text, "compilation;dur=%.3f",
                  json_number_value(json_object_get(answer, "compilation_time_ms")));
    reply_header(request, "Server-Timing", text.data);
}

static enum handled fill_single(struct request *request, struct error *err)
{
    struct single *single = request->context;
    const struct outcome *outcome = single->outcome;
    if (!outcome->ok) {
        *err = outcome->error;
        return HANDLED_FAILED;
    }
    if (!outcome->joined) {
        struct strbuf text;
        strbuf_init(&text, &request->arena);
        json_write_canonical(outcome->answer, &text);
        const json_t *metadata = json_object_get(outcome->answer, "metadata");
        json_t *again = answer_again(text.data, "memory",
                                     json_string_value(json_object_get(metadata, "evidence")));
        if (again)
            keep(request->server, &single->wish, outcome->kernel, again);
        json_decref(again);
    }
    tell_times(request, outcome->answer);
    json_t *answer = json_incref((json_t *)(uintptr_t)outcome->answer);
    return reply_json(request, 200, with_parent(answer, single->wish.parent));
}

static void on_single(void *context, const struct outcome *outcome)
{
    struct single *single = context;
    single->outcome = outcome;
    request_complete(single->request, fill_single, single);
}

static bool single_gone(void *context)
{
    const struct single *single = context;
    return request_gone(single->request);
}

static enum handled compile_wish(struct request *request, struct single *single, struct error *err)
{
    json_t *answer;
    single->request = request;
    single->wish.arena = &request->arena;
    single->wish.client = request->client;
    single->waiter = (struct waiter){.done = on_single, .gone = single_gone, .context = single};
    request->blueprint_id = single->wish.ask.blueprint_id;
    enum found found = find_or_submit(request, &single->wish, &single->waiter, &answer, err);
    if (found == FOUND)
        return reply_json(request, 200, with_parent(answer, single->wish.parent));
    return found == SUBMITTED ? HANDLED_WAITS : HANDLED_FAILED;
}

static bool take_priority(struct request *request, uint32_t *out, struct error *err)
{
    const char *text = request_query(request, "priority");
    if (text && (text[0] < '0' || text[0] > '9' || text[1] != '\0'))
        return fail(err, ERR_JSON, "query argument 'priority' is not from 0 to 9");
    *out = text ? (uint32_t)(text[0] - '0') : 0;
    return true;
}

/* Hints for a model are query arguments with the hints' names. */
static bool parse_model(struct request *request, struct ask *ask, struct error *err)
{
    json_t *hints = json_object();
    for (uint32_t i = 0; hint_names[i]; i++) {
        const char *text = request_query(request, hint_names[i]);
        json_error_t ignored; /* a value that is not JSON is a text: names of enumerations need no
                                 quotes */
        json_t *value = text ? json_loads(text, JSON_DECODE_ANY, &ignored) : NULL;
        if (text)
            json_object_set_new(hints, hint_names[i], value ? value : json_string(text));
    }
    bool ok = ask_hints(&request->server->settings, hints, &request->arena, ask, err);
    json_decref(hints);
    if (ok && request->body_bytes == 0)
        ok = fail(err, ERR_BLUEPRINT, "the body is empty");
    if (ok)
        ask_bytes(request->body, request->body_bytes, &request->arena, ask);
    return ok;
}

/* For models, hints are allowed, too. */
static bool check_queries(struct request *request, uint32_t *out_priority, struct error *err)
{
    const char *async = request_query(request, "async");
    struct strbuf allowed;
    strbuf_init(&allowed, &request->arena);
    strbuf_puts(&allowed, "async priority");
    for (uint32_t i = 0; request->source_kind == SOURCE_MODEL && hint_names[i]; i++)
        strbuf_printf(&allowed, " %s", hint_names[i]);
    if (!request_only_queries(request, allowed.data, err) ||
        !take_priority(request, out_priority, err))
        return false;
    return !async || strcmp(async, "true") == 0 || strcmp(async, "false") == 0 ||
           fail(err, ERR_JSON, "query argument 'async' is neither true nor false");
}

static bool parse_wish(struct request *request, struct wish *wish, struct error *err)
{
    wish->epoch = shelf_epoch(request->server->answers);
    wish->parent = "";
    if (!check_queries(request, &wish->priority, err))
        return false;
    if (request->source_kind == SOURCE_MODEL)
        return parse_model(request, &wish->ask, err);
    json_t *body = request_json(request, err);
    bool ok = body && ask_parse(&request->server->settings, body, &request->arena, &wish->ask, err);
    if (!ok)
        request->blueprint_id =
            ask_blueprint_id(json_object_get(body, "blueprint_ir"), &request->arena);
    request_drop_json(request);
    return ok;
}

static bool wants_job(const struct request *request)
{
    const char *prefer = request_header(request, "Prefer"),
               *query = request_query(request, "async");
    return (prefer && strstr(prefer, "respond-async")) || (query && strcmp(query, "true") == 0);
}

/* Level 1: by the digest of the body. */
static struct shelf_value *find_by_bytes(const struct request *request,
                                         uint8_t digest[SHA256_BYTES])
{
    const struct server *server = request->server;
    digest_body(request, digest);
    return server->settings.enable_kernel_cache ? shelf_find(server->answers, digest) : NULL;
}

/* Level 2: by the key. */
static struct shelf_value *find_by_key(const struct request *request, struct wish *wish)
{
    const struct server *server = request->server;
    uint8_t key[SHA256_BYTES];
    key_bytes(wish->ask.key, key);
    struct shelf_value *value =
        server->settings.enable_kernel_cache ? shelf_find(server->answers, key) : NULL;
    if (value && wish->has_bytes_key)
        shelf_add(server->answers, wish->bytes_key, value, wish->epoch);
    return value;
}

static enum handled compile_later(struct request *request, struct error *err)
{
    struct single *single = ARENA_NEW(&request->arena, struct single);
    struct wish *wish = &single->wish;
    struct shelf_value *value = NULL;
    wish->has_bytes_key = request->source_kind == SOURCE_JSON && !wants_job(request);
    if (wish->has_bytes_key)
        value = find_by_bytes(request, wish->bytes_key);
    if (value)
        return reply_shelved(request, value);
    if (!parse_wish(request, wish, err))
        return HANDLED_FAILED;
    if (wants_job(request))
        return job_submit(request, &wish->ask, wish->priority, err);
    value = find_by_key(request, wish);
    return value ? reply_shelved(request, value) : compile_wish(request, single, err);
}

enum handled route_compile(struct request *request, struct error *err)
{
    uint8_t digest[SHA256_BYTES];
    uint32_t priority;
    if (!check_queries(request, &priority, err))
        return HANDLED_FAILED;
    bool quick = request->source_kind == SOURCE_JSON && request->body_bytes <= HASHED_AT_ONCE;
    struct shelf_value *value =
        quick && !wants_job(request) ? find_by_bytes(request, digest) : NULL;
    if (value)
        return reply_shelved(request, value);
    return request_later(request, compile_later, err);
}

/* Optimising again. */

enum handled route_optimize(struct request *request, struct error *err)
{
    struct single *single = ARENA_NEW(&request->arena, struct single);
    struct wish *wish = &single->wish;
    struct server *server = request->server;
    struct kernel_record *kernel;
    struct blob source;
    json_t *hints = NULL, *body = request_json(request, err);
    if (!body)
        return HANDLED_FAILED;
    bool ok = take_priority(request, &wish->priority, err) &&
              registry_kernel(server->registry, request->args[0], &request->arena, &kernel, err);
    if (ok) {
        const json_t *given = json_object_get(body, "optimization_hints");
        hints = json_loads(kernel->hints[0] != '\0' ? kernel->hints : "{}", 0, NULL);
        drop_unsaid(hints);
        if (given && json_object_size(body) > 1)
            ok = fail(err, ERR_JSON, "hints stand bare or under 'optimization_hints', not both");
        else if (json_object_update(hints, (json_t *)(uintptr_t)(given ? given : body)) != 0)
            ok = fail(err, ERR_JSON, "hints are not an object");
    }
    wish->epoch = shelf_epoch(server->answers);
    wish->parent = ok ? kernel->head.id : "";
    ok = ok && ask_hints(&server->settings, hints, &request->arena, &wish->ask, err) &&
         blueprint_source(server, kernel->blueprint, &request->arena, &source, err);
    json_decref(hints);
    request_drop_json(request);
    if (!ok)
        return HANDLED_FAILED;
    ask_bytes(arena_memdup(&request->arena, source.data, source.size_bytes), source.size_bytes,
              &request->arena, &wish->ask);
    blobs_release(registry_blobs(server->registry), &source);
    return compile_wish(request, single, err);
}

/* Several at once. */

struct batch;
struct item {
    struct batch *batch;
    struct wish wish;
    struct waiter waiter;
    json_t *result;
};
struct batch {
    struct request *request;
    struct item *items;
    uint32_t count;
    atomic_uint left; /* items that are not done, plus 1 while items are being submitted */
};

static enum handled fill_batch(struct request *request, struct error *err)
{
    struct batch *batch = request->context;
    json_t *results = json_array();
    (void)err;
    for (uint32_t i = 0; i < batch->count; i++)
        json_array_append_new(results, batch->items[i].result);
    return reply_json(request, 200, json_pack("{s:o}", "results", results));
}

static void settle(struct batch *batch)
{
    if (atomic_fetch_sub(&batch->left, 1) == 1)
        request_complete(batch->request, fill_batch, batch);
}

static void on_item(void *context, const struct outcome *outcome)
{
    struct item *item = context;
    item->result = outcome->ok ? json_deep_copy(outcome->answer)
                               : error_value(&outcome->error, outcome->blueprint_id);
    settle(item->batch);
}

static bool item_gone(void *context)
{
    const struct item *item = context;
    return request_gone(item->batch->request);
}

/* The request is already suspended, so running out of memory becomes an error of the item. */
static bool parse_item(struct request *request, const json_t *ask, struct wish *wish,
                       struct error *err)
{
    jmp_buf no_memory;
    volatile bool ok = false;
    if (setjmp(no_memory) != 0)
        fail(err, ERR_NOMEM, "no memory for this request");
    else {
        request->arena.oom = &no_memory;
        ok = ask_parse(&request->server->settings, ask, &request->arena, &wish->ask, err);
        if (!ok)
            wish->ask.blueprint_id =
                ask_blueprint_id(json_object_get(ask, "blueprint_ir"), &request->arena);
    }
    request->arena.oom = NULL;
    return ok;
}

static void submit_item(struct request *request, struct item *item, const json_t *ask)
{
    struct error err;
    struct wish *wish = &item->wish;
    json_t *answer = NULL;
    wish->arena = &request->arena;
    wish->client = request->client;
    wish->parent = "";
    wish->epoch = shelf_epoch(request->server->answers);
    item->waiter = (struct waiter){.done = on_item, .gone = item_gone, .context = item};
    enum found found = parse_item(request, ask, wish, &err)
                           ? find_or_submit(request, wish, &item->waiter, &answer, &err)
                           : NOT_FOUND;
    if (found == SUBMITTED)
        return;
    item->result = answer ? answer : error_value(&err, wish->ask.blueprint_id);
    settle(item->batch);
}

enum handled route_batch(struct request *request, struct error *err)
{
    json_t *body = request_json(request, err), *list = NULL;
    if (!body)
        return HANDLED_FAILED;
    bool ok = json_only_keys(body, (const char *const[]){"requests", NULL}, err) &&
              json_get_array(body, "requests", &list, err);
    size_t count = ok ? json_array_size(list) : 0;
    if (ok && count > BATCH_MOST)
        ok = fail(err, ERR_LIMIT, "%zu requests in one; at most %d are taken", count, BATCH_MOST);
    if (!ok) {
        request_drop_json(request);
        return HANDLED_FAILED;
    }
    struct batch *batch = ARENA_NEW(&request->arena, struct batch);
    batch->request = request;
    batch->items = ARENA_ARRAY(&request->arena, struct item, count + 1);
    batch->count = (uint32_t)count;
    atomic_init(&batch->left, (uint32_t)count + 1);
    request_wait(request);
    for (uint32_t i = 0; i < count; i++) {
        batch->items[i].batch = batch;
        submit_item(request, &batch->items[i], json_array_get(list, i));
    }
    request_drop_json(request);
    settle(batch);
    return HANDLED_WAITS;
}

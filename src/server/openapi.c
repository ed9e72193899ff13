/* The description of the interface, from routes.def and records.def. */
#include <string.h>

#include "base/json.h"
#include "compiler/compile.h"
#include "server/api.h"

static json_t *reference(const char *name)
{
    struct strbuf text;
    struct arena arena;
    arena_init(&arena);
    strbuf_init(&text, &arena);
    strbuf_printf(&text, "#/components/schemas/%s", name);
    json_t *value = json_pack("{s:s}", "$ref", text.data);
    arena_release(&arena);
    return value;
}

static json_t *content(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

/* Schemas. */

static json_t *field_schema(const struct record_field *field)
{
    static const char *const types[] = {
        [FIELD_TEXT] = "string", [FIELD_INTEGER] = "integer", [FIELD_REAL] = "number"};
    json_t *schema = json_object();
    if (field->type == FIELD_LIST)
        json_object_update_new(
            schema, json_pack("{s:s, s:{s:s}}", "type", "array", "items", "type", "string"));
    else if (field->type != FIELD_JSON)
        json_object_set_new(schema, "type", json_string(types[field->type]));
    if (field->doc[0] != '\0')
        json_object_set_new(schema, "description", json_string(field->doc));
    return schema;
}

static json_t *record_schema(enum record_kind kind)
{
    const struct record_type *type = record_type(kind);
    json_t *fields = json_object();
    json_object_set_new(fields, "id", json_pack("{s:s}", "type", "string"));
    for (uint32_t i = 0; i < type->field_count; i++)
        if (!type->fields[i].secret)
            json_object_set_new(fields, type->fields[i].name, field_schema(&type->fields[i]));
    return json_pack("{s:s, s:s, s:o, s:[s]}", "type", "object", "description", type->doc,
                     "properties", fields, "required", "id");
}

static json_t *page_schema(const char *of)
{
    return json_pack("{s:s, s:{s:{s:s, s:o}, s:{s:[s, s]}}, s:[s, s]}", "type", "object",
                     "properties", "items", "type", "array", "items", reference(of), "next", "type",
                     "string", "null", "required", "items", "next");
}

/* Those that no record gives. */
static const char written[] =
    "{\"Problem\":{\"type\":\"object\",\"required\":[\"error\",\"message\",\"blueprint_id\","
    "\"request_id\"],\"properties\":{\"error\":{\"type\":\"string\","
    "\"description\":\"class\"},\"message\":{\"type\":\"string\"},"
    "\"place\":{\"type\":\"string\"},\"blueprint_id\":{\"type\":[\"string\",\"null\"]},"
    "\"request_id\":{\"type\":\"string\"}}},\"Hints\":{\"type\":\"object\","
    "\"additionalProperties\":false,"
    "\"properties\":{\"target_hardware\":{\"type\":\"string\"},"
    "\"expected_batch_size\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":16777216},"
    "\"precision\":{\"enum\":[\"fp32\",\"fp16\",\"bf16\",\"int8\"]},"
    "\"optimization_level\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":2},"
    "\"strategy\":{\"enum\":[\"emergency\",\"fast\",\"standard\",\"aggressive\"]},"
    "\"optimize_memory\":{\"type\":\"boolean\"},"
    "\"expected_workload\":{\"enum\":[\"inference\",\"training\",\"latency\","
    "\"throughput\"]}}},\"CompileAsk\":{\"type\":\"object\",\"required\":[\"blueprint_ir\"],"
    "\"additionalProperties\":false,\"properties\":{\"blueprint_ir\":{\"type\":\"object\","
    "\"description\":\"in any dialect\"},"
    "\"optimization_hints\":{\"$ref\":\"#/components/schemas/Hints\"},"
    "\"hints\":{\"$ref\":\"#/components/schemas/Hints\"},\"cache_key\":{\"type\":\"string\","
    "\"maxLength\":200}}},\"BatchAsk\":{\"type\":\"object\",\"required\":[\"requests\"],"
    "\"additionalProperties\":false,\"properties\":{\"requests\":{\"type\":\"array\","
    "\"maxItems\":256,\"items\":{\"$ref\":\"#/components/schemas/CompileAsk\"}}}},"
    "\"CompileAnswer\":{\"type\":\"object\",\"required\":[\"kernel_id\","
    "\"compilation_time_ms\",\"optimizations_applied\",\"cache_hit\",\"metadata\"],"
    "\"properties\":{\"kernel_id\":{\"type\":\"string\","
    "\"pattern\":\"^kernel-[0-9a-f]{64}$\"},\"compilation_time_ms\":{\"type\":\"number\"},"
    "\"optimizations_applied\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
    "\"cache_hit\":{\"type\":\"boolean\"},\"parent\":{\"type\":\"string\"},"
    "\"metadata\":{\"type\":\"object\"}}},\"BatchAnswer\":{\"type\":\"object\","
    "\"required\":[\"results\"],\"properties\":{\"results\":{\"type\":\"array\","
    "\"items\":{\"anyOf\":[{\"$ref\":\"#/components/schemas/CompileAnswer\"},"
    "{\"type\":\"object\",\"required\":[\"error\",\"message\"]}]}}}},"
    "\"Health\":{\"type\":\"object\",\"required\":[\"status\"],"
    "\"properties\":{\"status\":{\"type\":\"string\"}}},\"Status\":{\"type\":\"object\","
    "\"required\":[\"status\",\"compilations_total\",\"compilations_active\","
    "\"cache_hit_rate\",\"avg_compilation_time_ms\",\"kernel_cache_size_mb\"],"
    "\"properties\":{\"status\":{\"type\":\"string\"},"
    "\"compilations_total\":{\"type\":\"integer\"},"
    "\"compilations_active\":{\"type\":\"integer\"},\"cache_hit_rate\":{\"type\":\"number\"},"
    "\"avg_compilation_time_ms\":{\"type\":\"number\"},"
    "\"kernel_cache_size_mb\":{\"type\":\"number\"}}},\"SubmitAsk\":{\"type\":\"object\","
    "\"required\":[\"blueprint_ir\"],\"additionalProperties\":false,"
    "\"properties\":{\"id\":{\"type\":\"string\"},\"blueprint_ir\":{\"type\":\"object\"},"
    "\"tags\":{\"type\":\"array\",\"maxItems\":32,\"items\":{\"type\":\"string\"}},"
    "\"metadata\":{\"type\":\"object\"}}},\"KernelChange\":{\"type\":\"object\","
    "\"additionalProperties\":false,\"properties\":{\"status\":{\"enum\":[\"VALIDATED\","
    "\"TESTING\",\"DEPLOYED\",\"RETIRED\"]},\"reason\":{\"type\":\"string\","
    "\"maxLength\":1000},\"tags\":{\"type\":\"array\",\"maxItems\":32,"
    "\"items\":{\"type\":\"string\"}}}},\"ObservationAsk\":{\"type\":\"object\","
    "\"additionalProperties\":false,\"required\":[\"calls\",\"p50_us\",\"p95_us\"],"
    "\"properties\":{\"profile\":{\"type\":\"string\"},\"host\":{\"type\":\"string\"},"
    "\"calls\":{\"type\":\"integer\",\"minimum\":1},\"p50_us\":{\"type\":\"number\"},"
    "\"p95_us\":{\"type\":\"number\"},\"sample_us\":{\"type\":\"array\",\"maxItems\":1000,"
    "\"items\":{\"type\":\"number\"}}}},\"AliasAsk\":{\"type\":\"object\","
    "\"additionalProperties\":false,\"required\":[\"kernel\"],"
    "\"properties\":{\"kernel\":{\"type\":\"string\"}}},"
    "\"StatusChange\":{\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"status\"],\"properties\":{\"status\":{\"enum\":[\"UNVALIDATED\","
    "\"COMPILING\",\"VALIDATED\",\"FAILED\"]},\"reason\":{\"type\":\"string\"}}}}";

/* What the answers of routes.def are called, and what they list. */
static const struct shown {
    const char *one, *many;
    enum record_kind kind;
} shown[] = {{"Blueprint", "Blueprints", RECORD_blueprint},
             {"Kernel", "Kernels", RECORD_kernel},
             {"Change", "Changes", RECORD_change},
             {"Observation", "Observations", RECORD_observation},
             {"Alias", "Aliases", RECORD_alias},
             {"Job", "Jobs", RECORD_job},
             {"Compilation", "Compilations", RECORD_compilation},
             {"Event", "Events", RECORD_event}};
#define SHOWN_COUNT (sizeof shown / sizeof shown[0])

static json_t *make_schemas(void)
{
    json_t *schemas = json_loads(written, 0, NULL);
    for (size_t i = 0; schemas && i < SHOWN_COUNT; i++) {
        json_object_set_new(schemas, shown[i].one, record_schema(shown[i].kind));
        json_object_set_new(schemas, shown[i].many, page_schema(shown[i].one));
    }
    return schemas;
}

/* Operations. */

static const struct asked {
    route_fn *handle;
    const char *schema;
} asked[] = {{route_compile, "CompileAsk"},
             {route_batch, "BatchAsk"},
             {route_optimize, "Hints"},
             {route_submit, "SubmitAsk"},
             {route_change_kernel, "KernelChange"},
             {route_observe, "ObservationAsk"},
             {route_set_alias, "AliasAsk"},
             {route_blueprint_status, "StatusChange"}};

static void add_body(const struct route *route, json_t *operation)
{
    const char *name = NULL;
    if (route->body == BODY_NOTHING)
        return;
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++)
        if (asked[i].handle == route->handle)
            name = asked[i].schema;
    json_t *types = content("application/json", name ? reference(name) : json_object());
    if (route->body == BODY_SOURCE)
        json_object_set_new(
            types, "application/octet-stream",
            json_pack("{s:{s:s, s:s}}", "schema", "type", "string", "format", "binary"));
    json_object_set_new(operation, "requestBody",
                        json_pack("{s:b, s:o}", "required", 1, "content", types));
}

static json_t *answer_content(const struct route *route)
{
    static const char *const raw[][2] = {{"bytes", "application/octet-stream"},
                                         {"text", "text/plain"},
                                         {"svg", "image/svg+xml"},
                                         {"events", "text/event-stream"},
                                         {"page", "text/html"}};
    if (strcmp(route->answers, "object") == 0)
        return content("application/json", json_pack("{s:s}", "type", "object"));
    for (size_t i = 0; i < sizeof raw / sizeof raw[0]; i++)
        if (strcmp(raw[i][0], route->answers) == 0)
            return content(raw[i][1], json_pack("{s:s}", "type", "string"));
    return content("application/json", reference(route->answers));
}

static void add_answers(const struct route *route, json_t *operation)
{
    static const int problems[] = {400, 401, 403, 404, 405, 409, 413, 415, 422, 500, 503};
    bool created = route->handle == route_submit || route->handle == route_observe;
    json_t *answers = json_object();
    json_object_set_new(
        answers, created ? "201" : "200",
        json_pack("{s:s, s:o}", "description", "done", "content", answer_content(route)));
    if (route->handle == route_compile)
        json_object_set_new(answers, "202",
                            json_pack("{s:s, s:o}", "description", "a job for it", "content",
                                      content("application/json", reference("Job"))));
    if (strcmp(route->method, "GET") == 0) {
        json_object_set_new(answers, "304", json_pack("{s:s}", "description", "as you have it"));
        json_object_set_new(answers, "206", json_pack("{s:s}", "description", "the range"));
        json_object_set_new(answers, "416", json_pack("{s:s}", "description", "no such range"));
    }
    for (size_t i = 0; i < sizeof problems / sizeof problems[0]; i++) {
        char status[8];
        bool health = route->handle == route_ready && problems[i] == 503;
        snprintf(status, sizeof status, "%d", problems[i]);
        json_object_set_new(
            answers, status,
            json_pack("{s:s, s:o}", "description", health ? "not ready" : "an error", "content",
                      content("application/json", reference(health ? "Health" : "Problem"))));
    }
    json_object_set_new(operation, "responses", answers);
}

static void add_path_parameters(const struct route *route, json_t *parameters)
{
    for (const char *at = strchr(route->path, '{'); at; at = strchr(at + 1, '{')) {
        size_t length = strcspn(at, "}") - 1;
        json_array_append_new(parameters, json_pack("{s:s%, s:s, s:b, s:{s:s, s:i}}", "name",
                                                    at + 1, length, "in", "path", "required", 1,
                                                    "schema", "type", "string", "minLength", 1));
    }
}

static void add_query(json_t *parameters, const char *name, json_t *schema)
{
    json_array_append_new(
        parameters, json_pack("{s:s, s:s, s:o}", "name", name, "in", "query", "schema", schema));
}

static json_t *range_schema(int least, int most)
{
    return json_pack("{s:s, s:i, s:i}", "type", "integer", "minimum", least, "maximum", most);
}

static void add_parameters(const struct route *route, json_t *operation)
{
    json_t *parameters = json_array();
    add_path_parameters(route, parameters);
    for (size_t i = 0; i < SHOWN_COUNT; i++)
        if (strcmp(shown[i].many, route->answers) == 0)
            list_parameters(shown[i].kind, parameters);
    if (route->handle == route_status)
        add_query(parameters, "history", range_schema(0, 1000));
    if (route->handle == route_compile || route->handle == route_optimize)
        add_query(parameters, "priority", range_schema(0, 9));
    if (route->handle == route_compile)
        add_query(parameters, "async", json_pack("{s:s}", "type", "boolean"));
    json_object_set_new(operation, "parameters", parameters);
}

static const char *scope_text(enum scope scope)
{
    static const char *const texts[] = {"", "read", "compile", "admin", "worker"};
    return texts[scope];
}

static json_t *make_operation(const struct route *route)
{
    json_t *operation = json_object();
    json_object_set_new(operation, "summary", json_string(route->doc));
    if (route->scope != SCOPE_ANYBODY)
        json_object_set_new(operation, "security",
                            json_pack("[{s:[s]}, {}]", "token", scope_text(route->scope)));
    add_parameters(route, operation);
    add_body(route, operation);
    add_answers(route, operation);
    return operation;
}

bool openapi_make(struct server *server, struct error *err)
{
    json_t *paths = json_object(), *schemas = make_schemas();
    struct strbuf text;
    for (uint32_t i = 0; route_at(i); i++) {
        const struct route *route = route_at(i);
        json_t *path = json_object_get(paths, route->path);
        char method[8];
        if (!path) {
            path = json_object();
            json_object_set_new(paths, route->path, path);
        }
        for (size_t at = 0; at < sizeof method; at++)
            method[at] = (char)(route->method[at] ? route->method[at] | 0x20 : '\0');
        method[sizeof method - 1] = '\0';
        json_object_set_new(path, method, make_operation(route));
    }
    json_t *all =
        json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:o, s:{s:{s:s, s:s}}}}", "openapi", "3.1.0", "info",
                  "title", "Urza", "version", URZA_VERSION, "paths", paths, "components", "schemas",
                  schemas, "securitySchemes", "token", "type", "http", "scheme", "bearer");
    if (!all)
        return fail(err, ERR_BUG, "the description of the interface cannot be made");
    strbuf_init(&text, &server->arena);
    json_write_canonical(all, &text);
    json_decref(all);
    server->openapi = text.data;
    server->openapi_bytes = text.size_bytes;
    return true;
}

/* JSON answers of the service, and conversion of its errors. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "client/client_priv.h"

/* Of JSON; packages have a limit of their own. */
#define ANSWER_BYTES_MOST ((size_t)16 << 20)

struct urza_answer {
    struct bytes json;
    json_t *value;
};

struct urza_answer *answer_new(struct exchange *exchange, struct error *err)
{
    struct error why;
    struct bytes *bytes = &exchange->answer;
    if (bytes->size > 0 && json_count(bytes->data, bytes->size) > LIMIT_REQUEST_VALUES) {
        fail(err, ERR_PROTOCOL, "the answer has more than %zu JSON values", LIMIT_REQUEST_VALUES);
        return NULL;
    }
    json_t *value = json_read(bytes->data ? bytes->data : "", bytes->size, &why);
    if (!json_is_object(value)) {
        json_decref(value);
        fail(err, ERR_PROTOCOL, "the answer is no JSON object%s%s", value ? "" : ": ",
             value ? "" : why.message);
        return NULL;
    }
    struct urza_answer *answer = calloc(1, sizeof *answer);
    if (!answer) {
        json_decref(value);
        fail(err, ERR_NOMEM, "no memory for an answer");
        return NULL;
    }
    answer->value = value;
    answer->json = *bytes;
    *bytes = (struct bytes){0};
    return answer;
}

/* The first error class with this name. ERR_NONE: no known class. */
static enum error_code class_of(const char *name)
{
    for (enum error_code code = ERR_NONE + 1; code < ERR_COUNT; code++)
        if (strcmp(error_name(code), name) == 0)
            return code;
    return ERR_NONE;
}

/* The class for an answer that names none, which comes from something in front of the service, such
 * as a proxy. */
static enum error_code class_of_status(int http)
{
    switch (http) {
    case 401: return ERR_TOKEN;
    case 403: return ERR_SCOPE;
    case 404: return ERR_NOT_FOUND;
    case 405: return ERR_METHOD;
    case 409: return ERR_CONFLICT;
    case 413: return ERR_LIMIT;
    case 415: return ERR_MEDIA;
    case 422: return ERR_UNSUPPORTED;
    case 429:
    case 503: return ERR_BUSY;
    case 502:
    case 504: return ERR_CONNECTION;
    default: return ERR_PROTOCOL;
    }
}

bool answer_fail(const json_t *value, int http, struct error *err)
{
    const char *name = json_string_value(json_object_get(value, "error")),
               *message = json_string_value(json_object_get(value, "message")),
               *place = json_string_value(json_object_get(value, "place"));
    enum error_code code = name ? class_of(name) : ERR_NONE;
    if (code == ERR_NONE)
        code = class_of_status(http);
    if (message)
        fail(err, code, "%s", message);
    else
        fail(err, code, "the service answers with status %d", http);
    return place ? fail_at(err, "%s", place) : false;
}

bool answer_error(const struct exchange *exchange, struct error *err)
{
    struct error ignored;
    const struct bytes *bytes = &exchange->answer;
    bool readable = bytes->size > 0 && json_count(bytes->data, bytes->size) <= LIMIT_REQUEST_VALUES;
    json_t *value = readable ? json_read(bytes->data, bytes->size, &ignored) : NULL;
    answer_fail(value, (int)exchange->status, err);
    json_decref(value);
    return false;
}

bool answer_ask(struct urza_client *client, struct exchange *exchange, struct urza_answer **out,
                struct error *err)
{
    exchange->answer_type = "application/json";
    exchange->answer_bytes = ANSWER_BYTES_MOST;
    if (exchange->deadline_ns == 0)
        exchange->deadline_ns = deadline_after(client->timeout_ms);
    bool ok = exchange_run(client, exchange, err);
    struct urza_answer *answer = ok ? answer_new(exchange, err) : NULL;
    exchange_release(exchange);
    if (!answer)
        return false;
    if (out)
        *out = answer;
    else
        urza_answer_free(answer);
    return true;
}

URZA_EXPORT const char *urza_answer_json(const urza_answer *answer)
{
    return answer->json.data;
}

URZA_EXPORT const char *urza_answer_kernel_id(const urza_answer *answer)
{
    return json_string_value(json_object_get(answer->value, "kernel_id"));
}

URZA_EXPORT const char *urza_answer_job_id(const urza_answer *answer)
{
    return json_string_value(json_object_get(answer->value, "job_id"));
}

URZA_EXPORT void urza_answer_free(urza_answer *answer)
{
    if (!answer)
        return;
    bytes_release(&answer->json);
    json_decref(answer->value);
    free(answer);
}

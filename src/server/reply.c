/* Replies, and errors as replies. */
#include <string.h>

#include "base/json.h"
#include "server/server_priv.h"

#define TYPE_JSON "application/json"

enum handled reply_text(struct request *request, unsigned status, const char *type,
                        const char *text, size_t size)
{
    request->reply.status = status;
    request->reply.type = type;
    request->reply.data = text;
    request->reply.size = size;
    return HANDLED_DONE;
}

enum handled reply_json(struct request *request, unsigned status, json_t *value)
{
    struct strbuf text;
    strbuf_init(&text, &request->arena);
    json_write_canonical(value, &text);
    json_decref(value);
    return reply_text(request, status, TYPE_JSON, text.data, text.size_bytes);
}

void reply_header(struct request *request, const char *name, const char *value)
{
    struct reply *reply = &request->reply;
    if (reply->header_count < REPLY_HEADERS_MOST)
        reply->headers[reply->header_count++] = (struct reply_header){name, value};
}

/* A message may quote bytes that are not UTF-8; they become '?'. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    if (value)
        return value;
    char copy[sizeof((struct error *)NULL)->message];
    size_t length = strnlen(text, sizeof copy - 1);
    for (size_t i = 0; i < length; i++)
        copy[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    copy[length] = '\0';
    return json_string(copy);
}

json_t *error_value(const struct error *err, const char *blueprint_id)
{
    /* A shape error is reported as an error of the blueprint. */
    enum error_code code = err->code == ERR_SHAPE ? ERR_BLUEPRINT : err->code;
    json_t *value = json_object();
    json_object_set_new(value, "error", json_string(error_name(code)));
    json_object_set_new(value, "message", text_value(err->message));
    if (err->place[0] != '\0')
        json_object_set_new(value, "place", text_value(err->place));
    json_object_set_new(value, "blueprint_id",
                        blueprint_id ? text_value(blueprint_id) : json_null());
    return value;
}

void reply_error(struct request *request, const struct error *err)
{
    unsigned status = (unsigned)error_http(err->code);
    json_t *value = error_value(err, request->blueprint_id);
    if (status >= 500) /* refusals are only counted: clients that cause them must not fill the log
                        */
        log_line(request->server, err->code == ERR_BUSY ? LOG_DEBUG : LOG_WARNING, "failed",
                 json_pack("{s:s, s:s, s:O}", "request_id", request->id, "error",
                           error_name(err->code), "message", json_object_get(value, "message")));
    json_object_set_new(value, "request_id", json_string(request->id));
    if (request->reply.release) /* releases the reply that was prepared before */
        request->reply.release(request->reply.held);
    request->reply = (struct reply){.status = 0};
    if (status == 503 || status == 429)
        reply_header(request, "Retry-After", "1");
    if (status == 401)
        reply_header(request, "WWW-Authenticate", "Bearer");
    reply_json(request, status, value);
}

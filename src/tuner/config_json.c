/* Configs as JSON; the legal keys and values are those of configs.def. */
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "tuner/tuner_priv.h"

/* Keys in alphabetical order, as RFC 8785 requires. */
void config_print(const struct config *config, struct strbuf *out)
{
    const char *last = "";
    strbuf_puts(out, "{");
    for (int printed = 0; printed < CONFIG_COUNT; printed++) {
        int next = CONFIG_COUNT;
        for (int i = 0; i < CONFIG_COUNT; i++) {
            const char *name = config_key_name((enum config_key)i);
            if (strcmp(name, last) > 0 &&
                (next == CONFIG_COUNT || strcmp(name, config_key_name((enum config_key)next)) < 0))
                next = i;
        }
        last = config_key_name((enum config_key)next);
        if (config->value[next] != 0)
            strbuf_printf(out, "%s\"%s\":%d", out->data[out->size_bytes - 1] == '{' ? "" : ",",
                          last, (int)config->value[next]);
    }
    strbuf_puts(out, "}");
}

static int find_key(const char *name)
{
    for (int i = 0; i < CONFIG_COUNT; i++)
        if (strcmp(config_key_name((enum config_key)i), name) == 0)
            return i;
    return -1;
}

bool config_read(const json_t *object, struct config *out, struct error *err)
{
    struct config config = {0};
    const char *name;
    json_t *value;
    if (!json_is_object(object))
        return fail(err, ERR_JSON, "a config is an object of numbers");
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        int key = find_key(name);
        if (key < 0) {
            fail(err, ERR_JSON, "no config has such a key");
        } else if (!json_is_integer(value) || json_integer_value(value) < 0 ||
                   json_integer_value(value) > config_key_most((enum config_key)key)) {
            fail(err, ERR_JSON, "expected a whole number from 0 to %d",
                 (int)config_key_most((enum config_key)key));
            key = -1;
        }
        if (key < 0)
            return fail_at(err, "key '%.64s'", name);
        config.value[key] = (int32_t)json_integer_value(value);
    }
    *out = config;
    return true;
}

bool config_parse(const char *text, struct config *out, struct error *err)
{
    json_t *value = json_read(text, strlen(text), err);
    bool ok = value && config_read(value, out, err);
    json_decref(value);
    return ok || fail_at(err, "config");
}

void config_schema_print(struct strbuf *out)
{
    strbuf_puts(out, "[");
    for (int i = 0; i < CONFIG_COUNT; i++) {
        enum config_key key = (enum config_key)i;
        const char *doc = config_key_doc(key);
        strbuf_puts(out, i > 0 ? ",{\"doc\":" : "{\"doc\":");
        json_write_string(doc, strlen(doc), out);
        strbuf_printf(out, ",\"key\":\"%s\",\"most\":%d}", config_key_name(key),
                      (int)config_key_most(key));
    }
    strbuf_puts(out, "]");
}

/* Describing an exported program (import/notes.h). */
#include <string.h>

#include "base/strbuf.h"
#include "compiler/import/notes.h"
#include "compiler/import/pt2/pt2_priv.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void note_outputs(struct pt2 *p, struct import_notes *notes)
{
    const json_t *outputs = json_object_get(p->body, "outputs"), *output;
    size_t i;
    notes->outputs.count = 0;
    json_array_foreach(outputs, i, output)
    {
        const char *name = text_of(json_object_get(output, "as_tensor"), "name");
        if (name[0] != '\0')
            VEC_PUSH(notes->arena, &notes->outputs, arena_strdup(notes->arena, name));
    }
}

void pt2_note_program(struct pt2 *p)
{
    struct import_notes *notes = p->options->notes;
    const json_t *schema = json_object_get(p->document, "schema_version"), *nodes, *node;
    const char *torch = text_of(p->document, "torch_version");
    struct strbuf text;
    size_t i;
    if (!notes)
        return;
    notes->graph = p->graph;
    if (notes->format) /* an earlier reading of the same source noted the rest */
        return;
    notes->format = "PyTorch (torch.export)";
    strbuf_init(&text, notes->arena);
    strbuf_printf(&text, "schema %lld.%lld",
                  (long long)json_integer_value(json_object_get(schema, "major")),
                  (long long)json_integer_value(json_object_get(schema, "minor")));
    notes->version = text.data;
    strbuf_init(&text, notes->arena);
    strbuf_printf(&text, "torch %s", torch);
    notes->producer = torch[0] != '\0' ? text.data : NULL;
    nodes = json_object_get(p->body, "nodes");
    json_array_foreach(nodes, i, node)
    {
        const char *target = text_of(node, "target");
        size_t prefix = strncmp(target, "torch.ops.", 10) == 0 ? 10 : 0;
        import_note_op(notes, target + prefix)->count++;
    }
    note_outputs(p, notes);
}

void pt2_note_refused(struct pt2 *p)
{
    struct import_notes *notes = p->options->notes;
    if (!notes)
        return;
    notes->refused.count = 0;
    for (uint32_t i = 0; i < p->refusals.count; i++) {
        const struct pt2_refusal *from = &p->refusals.items[i];
        VEC_PUSH(notes->arena, &notes->refused,
                 ((struct import_refusal){from->what, from->node, from->why, NULL, from->count}));
    }
}

/* params.safetensors: eight bytes of header size, a JSON header, then the tensors without gaps.
 *
 * Invariants:
 * 1. Tensors are ordered by element size, widest first, then by the graph's order, and the header
 *    is padded with spaces until the data starts at a multiple of 64; so each tensor is aligned to
 *    its elements.
 * 2. The header follows from the graph: the reader makes it again and compares. */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "package/package_priv.h"

#define SIZE_BYTES 8u /* of the header's size, little-endian */
#define DATA_ALIGN 64u

/* The position of each param's data, in the graph's order. */
struct layout {
    uint32_t *order; /* params in the file's order */
    size_t *offsets, *sizes;
    size_t total_bytes;
};

static bool size_of(const struct graph *graph, const struct node *node, size_t *out,
                    struct error *err)
{
    int64_t bytes = (int64_t)dtype_bytes(node->dtype);
    bool empty = false, fits = true;
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        int64_t dim;
        if (!dim_is_const(&graph->dims, node->shape[axis], &dim) || dim < 0)
            return fail(err, ERR_PACKAGE, "the shape of a param must be constant");
        empty |= dim == 0;
        fits = fits && checked_mul_i64(bytes, dim, &bytes);
    }
    if (!empty && (!fits || bytes > LIMIT_TENSOR_BYTES))
        return fail(err, ERR_LIMIT, "the param is too large");
    *out = empty ? 0 : (size_t)bytes;
    return true;
}

static bool lay_out(const struct graph *graph, struct arena *arena, struct layout *out,
                    struct error *err)
{
    uint32_t count = graph->params.count, placed = 0;
    struct layout layout = {
        .order = ARENA_ARRAY(arena, uint32_t, count),
        .offsets = ARENA_ARRAY(arena, size_t, count),
        .sizes = ARENA_ARRAY(arena, size_t, count),
    };
    for (size_t width = 8; width >= 1; width /= 2) {
        for (uint32_t i = 0; i < count; i++) {
            const struct node *node = graph_node(graph, graph->params.items[i]);
            if (dtype_bytes(node->dtype) != width)
                continue;
            if (!size_of(graph, node, &layout.sizes[i], err))
                return fail_at(err, "param '%s'", node->attrs->name);
            layout.order[placed++] = i;
            layout.offsets[i] = layout.total_bytes;
            layout.total_bytes += layout.sizes[i]; /* below LIMIT_NODES × LIMIT_TENSOR_BYTES */
        }
    }
    *out = layout;
    return true;
}

static void print_tensor(const struct graph *graph, const struct layout *layout, uint32_t param,
                         struct strbuf *out)
{
    const struct node *node = graph_node(graph, graph->params.items[param]);
    json_write_string(node->attrs->name, strlen(node->attrs->name), out);
    strbuf_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", dtype_safetensors(node->dtype));
    for (uint32_t axis = 0; axis < node->rank; axis++) {
        int64_t dim = 0;
        dim_is_const(&graph->dims, node->shape[axis], &dim);
        strbuf_printf(out, "%s%" PRId64, axis > 0 ? "," : "", dim);
    }
    size_t start = layout->offsets[param];
    strbuf_printf(out, "],\"data_offsets\":[%zu,%zu]}", start, start + layout->sizes[param]);
}

/* Prints everything before the data. */
static bool print_header(const struct graph *graph, const struct layout *layout, struct strbuf *out,
                         struct error *err)
{
    struct strbuf json;
    strbuf_init(&json, out->arena);
    strbuf_puts(&json, "{");
    for (uint32_t i = 0; i < graph->params.count; i++) {
        uint32_t param = layout->order[i];
        const char *name = graph_node(graph, graph->params.items[param])->attrs->name;
        if (strcmp(name, "__metadata__") == 0)
            return fail(err, ERR_PACKAGE, "a param may not be called '%s'", name);
        if (i > 0)
            strbuf_puts(&json, ",");
        print_tensor(graph, layout, param, &json);
    }
    strbuf_puts(&json, "}");
    while ((SIZE_BYTES + json.size_bytes) % DATA_ALIGN != 0)
        strbuf_puts(&json, " ");
    for (unsigned shift = 0; shift < 64; shift += 8) {
        uint8_t byte = (uint8_t)((uint64_t)json.size_bytes >> shift);
        strbuf_add(out, &byte, 1);
    }
    strbuf_add(out, json.data, json.size_bytes);
    return true;
}

bool params_pieces(const struct graph *graph, const struct package_param *params,
                   struct arena *arena, struct bytes_piece **out, uint32_t *out_count,
                   struct error *err)
{
    struct layout layout;
    struct strbuf header;
    uint32_t count = graph->params.count;
    struct bytes_piece *pieces = ARENA_ARRAY(arena, struct bytes_piece, (size_t)count + 1);
    strbuf_init(&header, arena);
    if (!lay_out(graph, arena, &layout, err) || !print_header(graph, &layout, &header, err))
        return false;
    pieces[0] = (struct bytes_piece){header.data, header.size_bytes};
    for (uint32_t i = 0; i < count; i++) {
        uint32_t param = layout.order[i];
        const struct node *node = graph_node(graph, graph->params.items[param]);
        if (params[param].dtype != node->dtype || params[param].data_bytes != layout.sizes[param]) {
            fail(err, ERR_PACKAGE, "dtype or size of its data is not the graph's");
            return fail_at(err, "param '%s'", node->attrs->name);
        }
        pieces[i + 1] = (struct bytes_piece){params[param].data, params[param].data_bytes};
    }
    *out = pieces;
    *out_count = count + 1;
    return true;
}

bool params_write(const struct graph *graph, const struct package_param *params, struct strbuf *out,
                  struct error *err)
{
    struct bytes_piece *pieces;
    uint32_t count;
    size_t size = 0;
    if (!params_pieces(graph, params, out->arena, &pieces, &count, err))
        return false;
    for (uint32_t i = 0; i < count; i++)
        size += pieces[i].size_bytes; /* below LIMIT_NODES × LIMIT_TENSOR_BYTES */
    strbuf_reserve(out, size);
    for (uint32_t i = 0; i < count; i++)
        strbuf_add(out, pieces[i].data, pieces[i].size_bytes);
    return true;
}

bool params_read(const struct graph *graph, const void *bytes, size_t size, struct arena *arena,
                 struct package_param *out_params, struct error *err)
{
    struct layout layout;
    struct strbuf header;
    strbuf_init(&header, arena);
    if (!lay_out(graph, arena, &layout, err) || !print_header(graph, &layout, &header, err))
        return false;
    if (size < header.size_bytes || memcmp(bytes, header.data, header.size_bytes) != 0)
        return fail(err, ERR_PACKAGE, "the header does not list the graph's params");
    if (size - header.size_bytes != layout.total_bytes)
        return fail(err, ERR_PACKAGE, "%zu bytes of data, expected %zu", size - header.size_bytes,
                    layout.total_bytes);
    const uint8_t *data = (const uint8_t *)bytes + header.size_bytes;
    for (uint32_t i = 0; i < graph->params.count; i++)
        out_params[i] = (struct package_param){
            .dtype = graph_node(graph, graph->params.items[i])->dtype,
            .data = data + layout.offsets[i],
            .data_bytes = layout.sizes[i],
        };
    return true;
}

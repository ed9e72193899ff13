/* urza ops: lists the operations of blueprints, or the ONNX operations that can be read. */
#include <stdio.h>

#include "base/error.h"
#include "cli/cli_priv.h"
#include "compiler/import/import.h"
#include "compiler/ops/ops.h"

static void print_native(struct cli *cli)
{
    json_t *list = json_array();
    for (uint32_t i = 0; op_at(i); i++) {
        const struct op_row *row = op_at(i);
        if (cli->json)
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "op", row->name,
                                                  "operands", row->operands, "attributes",
                                                  row->attrs, "doc", row->doc));
        else
            printf("%-36s %-28s %s\n", row->name, row->operands, row->doc);
    }
    if (cli->json)
        report_json(list);
    else
        json_decref(list);
}

static void print_onnx(struct cli *cli)
{
    json_t *list = json_array();
    struct onnx_coverage op;
    for (uint32_t i = 0; onnx_covers(i, &op); i++) {
        if (cli->json)
            json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:s, s:s}", "op", op.name,
                                                  "since", op.since, "until", ONNX_NEWEST_OPSET,
                                                  "types", op.types, "note", op.note));
        else
            printf("%-36s %3d-%d  %-4s %s\n", op.name, op.since, ONNX_NEWEST_OPSET, op.types,
                   op.note);
    }
    if (cli->json)
        report_json(list);
    else
        json_decref(list);
}

bool cmd_ops(struct cli *cli, int argc, char **argv, struct error *err)
{
    bool onnx = false;
    struct words words = {.most = 0};
    const struct option_row rows[] = {
        {"onnx", 0, OPTION_FLAG, NULL, &onnx,
         "operations of ONNX: opsets, types (F floats, I integers, B bool, W: wide inside), notes"},
        {0},
    };
    if (!args_parse(cli, rows, argc, argv, &words, err))
        return false;
    if (onnx)
        print_onnx(cli);
    else
        print_native(cli);
    return true;
}

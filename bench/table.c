/* Tables: a row for each case; for each peer its time over ours, so that above 1 ours is faster. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define NAME_WIDTH 38

static const char *separator(const struct table *table)
{
    return table->options->markdown ? " | " : "  ";
}

static void begin_line(const struct table *table)
{
    fputs(table->options->markdown ? "| " : "", stdout);
}

static void end_line(const struct table *table)
{
    puts(table->options->markdown ? " |" : "");
    fflush(stdout);
}

static void print_text(const struct table *table, const char *text)
{
    printf("%s%*s", separator(table), table->options->markdown ? 0 : 10, text);
}

static void print_number(const struct table *table, double value, int digits)
{
    char text[32];
    snprintf(text, sizeof text, "%.*f", digits, value);
    print_text(table, text);
}

static void print_name(const struct table *table, const char *name)
{
    begin_line(table);
    printf("%-*s", table->options->markdown ? 0 : NAME_WIDTH, name);
}

void table_begin(struct table *table, const struct table_options *options, const struct peer *peers,
                 uint32_t peer_count)
{
    *table = (struct table){
        .options = options, .peers = peers, .peer_count = peer_count, .worst = INFINITY};
    print_name(table, "case");
    print_text(table, "us");
    print_text(table, options->memory ? "GB/s" : "GFLOP/s");
    print_text(table, options->memory ? "% of copy" : "% of peak");
    for (uint32_t i = 0; i < peer_count; i++)
        print_text(table, peers[i].name);
    if (peer_count > 0)
        print_text(table, "best");
    end_line(table);
    if (!options->markdown)
        return;
    printf("| --- |");
    for (uint32_t i = 0; i < 3 + peer_count + (peer_count > 0); i++)
        printf(" ---: |");
    puts("");
}

/* The peer's time over ours in each round. */
static double ratio_of(const struct contestant *peer, const struct contestant *ours,
                       uint32_t rounds)
{
    double ratios[ROUNDS_MAX];
    for (uint32_t round = 0; round < rounds; round++)
        ratios[round] = peer->ns[round] / ours->ns[round];
    return median(ratios, rounds);
}

static void print_best(struct table *table, const struct table_row *row)
{
    double best = INFINITY;
    uint32_t best_peer = 0;
    for (uint32_t i = 0; i < table->peer_count; i++) {
        const struct contestant *peer = &row->contestants[i + 1];
        if (peer->verdict != VERDICT_TIMED)
            continue;
        double ratio = ratio_of(peer, &row->contestants[0], row->rounds);
        if (ratio < best) {
            best = ratio;
            best_peer = i;
        }
    }
    if (isinf(best)) {
        print_text(table, "");
        return;
    }
    print_number(table, best, 2);
    table->log_sum[0] += log(best);
    table->rows[0]++;
    if (best < table->worst) {
        table->worst = best;
        snprintf(table->worst_name, sizeof table->worst_name, "%s", row->name);
        snprintf(table->worst_peer, sizeof table->worst_peer, "%s", table->peers[best_peer].name);
    }
}

static void print_peer(struct table *table, const struct table_row *row, uint32_t index)
{
    const struct contestant *peer = &row->contestants[index];
    switch (peer->verdict) {
    case VERDICT_WRONG: print_text(table, "wrong"); return;
    case VERDICT_FAILED: print_text(table, "failed"); return;
    case VERDICT_NONE: print_text(table, ""); return;
    case VERDICT_TIMED: break;
    }
    double ratio = ratio_of(peer, &row->contestants[0], row->rounds);
    print_number(table, ratio, 2);
    table->log_sum[index] += log(ratio);
    table->rows[index]++;
}

void table_row(struct table *table, const struct table_row *row)
{
    double times[ROUNDS_MAX];
    memcpy(times, row->contestants[0].ns, sizeof times);
    double ns = median(times, row->rounds);
    bool memory = table->options->memory;
    double rate = (memory ? row->work.bytes : row->work.flops) / ns;
    double share = 1e9 * rate / (memory ? row->peak.bytes_per_s : row->peak.flops);
    print_name(table, row->name);
    print_number(table, ns * 1e-3, ns < 1e5 ? 2 : 0);
    print_number(table, rate, 1);
    print_number(table, 100 * share, 0);
    for (uint32_t i = 1; i <= table->peer_count; i++)
        print_peer(table, row, i);
    if (table->peer_count > 0)
        print_best(table, row);
    end_line(table);
    table->peak_share_sum += log(share);
    table->row_count++;
}

void table_failure(struct table *table, const char *name, const struct error *err)
{
    print_name(table, name);
    printf("%s%s: %s: %s", separator(table), error_name(err->code), err->place, err->message);
    end_line(table);
}

void table_end(struct table *table)
{
    print_name(table, "geometric mean");
    print_text(table, "");
    print_text(table, "");
    if (table->row_count > 0)
        print_number(table, 100 * exp(table->peak_share_sum / table->row_count), 0);
    for (uint32_t i = 0; i <= table->peer_count; i++) {
        uint32_t column = (i + 1) % (table->peer_count + 1); /* the best comes last */
        if (table->peer_count == 0 || table->rows[column] == 0)
            print_text(table, "");
        else
            print_number(table, exp(table->log_sum[column] / table->rows[column]), 2);
    }
    end_line(table);
    if (isfinite(table->worst))
        printf("\nworst: %s, %.2f of %s's time over ours\n", table->worst_name, table->worst,
               table->worst_peer);
    puts("");
}

/* Copies of dims in other tables, as they are or at values of some names. */
#include "graph/dim.h"

static dim_id import_name(struct dim_table *to, const struct dim_table *from, const int64_t *values,
                          const struct dim_atom *atom)
{
    uint32_t name;
    if (values && values[atom->name] != DIM_ANY)
        return dim_const(to, values[atom->name] / atom->divisor);
    return dim_find_name(to, from->names.items[atom->name].name, &name)
               ? dim_floordiv(to, dim_named(to, name), dim_const(to, atom->divisor))
               : DIM_NONE;
}

static dim_id import_atom(struct dim_table *to, const struct dim_table *from, const int64_t *values,
                          const struct dim_atom *atom)
{
    if (atom->kind == DIM_ATOM_NAME)
        return import_name(to, from, values, atom);
    dim_id a = dim_import_at(to, from, values, atom->a);
    dim_id b = dim_import_at(to, from, values, atom->b);
    return atom->kind == DIM_ATOM_MAX ? dim_max(to, a, b) : dim_floordiv(to, a, b);
}

dim_id dim_import_at(struct dim_table *to, const struct dim_table *from, const int64_t *values,
                     dim_id dim)
{
    if (dim == DIM_NONE)
        return DIM_NONE;
    uint32_t count;
    const struct dim_term *terms = dim_terms(from, dim, &count);
    dim_id sum = dim_const(to, 0);
    for (uint32_t i = 0; i < count && sum != DIM_NONE; i++) {
        dim_id product = dim_const(to, terms[i].coefficient);
        for (uint32_t j = 0; j < terms[i].atom_count && product != DIM_NONE; j++)
            product = dim_mul(to, product, import_atom(to, from, values, &terms[i].atoms[j]));
        sum = dim_add(to, sum, product);
    }
    return sum;
}

dim_id dim_import(struct dim_table *to, const struct dim_table *from, dim_id dim)
{
    return dim_import_at(to, from, NULL, dim);
}

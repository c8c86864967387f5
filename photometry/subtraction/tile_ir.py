"""The innermost loops of the direct convolution, as LLVM code: a band of rows from tiles of output that stay in registers.

As in the kernels of matrix products (Goto & van de Geijn 2008, ACM TOMS 34, 12) and of neural networks (Georganas et al.
2018, SC18), what is loaded serves the whole tile: a vector of the source all the tile's rows, a tap all its columns.  With
AVX2 that is 8 loads for 12 multiply-adds, of which a core does two each in a cycle.  Vectors are as long as the target's;
LLVM splits what it does not have, so that any CPU gives the same sums to rounding.  No optimizer of LLVM's runs over this:
what it would gain is written down here, and it takes .3 s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llvmlite import ir

_FLOAT = ir.FloatType()
_POINTER = _FLOAT.as_pointer()
_INT = ir.IntType(64)

Values = Sequence[ir.Value]


@dataclass(frozen=True)
class Target:
    """float32 in a vector, and vectors across the widest tile: its sums take three quarters of the registers."""

    lanes: int
    vectors: int

    @classmethod
    def of(cls, features: Mapping[str, bool]) -> "Target":
        """For a CPU with these features, in LLVM's names."""
        if features.get("avx512f"):
            return cls(16, 4)  # of 32 registers
        if features.get("avx"):
            return cls(8, 2)  # of 16
        return cls(4, 4 if features.get("neon") else 2)  # of 32 and of 16


@dataclass(frozen=True)
class Shape:
    """A tile of rows by vectors of so many lanes."""

    rows: int
    vectors: int
    lanes: int

    @property
    def name(self) -> str:
        """Of its function."""
        return f"tile_{self.rows}_{self.vectors}_{self.lanes}"

    @property
    def width(self) -> int:
        """Its columns."""
        return self.vectors * self.lanes


def _loop(
    builder: ir.IRBuilder,
    bounds: tuple[ir.Value, ir.Value, ir.Value],
    body: Callable[[ir.Value, Values], Values | None],
    carried: Values = (),
) -> tuple[ir.Value, Values]:
    """For index = start, start + step ... < stop, (start, stop, step) = bounds: carried = body(index, carried).

    The index at the end, and what is carried then.
    """
    start, stop, step = bounds
    before = builder.block
    head, inner, after = (builder.append_basic_block(name) for name in ("head", "inner", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(_INT)
    index.add_incoming(start, before)
    phis = [builder.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", index, stop), inner, after)
    builder.position_at_end(inner)
    results = body(index, phis) or ()
    index.add_incoming(builder.add(index, step), builder.block)
    for phi, value in zip(phis, results, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return index, phis


def _smaller(builder: ir.IRBuilder, one: ir.Value, other: ir.Value) -> ir.Value:
    """The smaller of two integers."""
    return builder.select(builder.icmp_signed("<", one, other), one, other)


def _function(module: ir.Module, name: str, arguments: str) -> tuple[ir.IRBuilder, list[ir.Value]]:
    """A new function without result, for its arguments' names: pointers to float32 are capital, the others integers."""
    kinds = [_POINTER if argument.isupper() else _INT for argument in arguments.split()]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
    return ir.IRBuilder(function.append_basic_block()), list(function.args)


class _Tile:
    """Writes the function tile(source, source's stride, kernel, k, out, out's stride) of a shape; strides in floats.

    Row r of a tile needs the source's rows r ... r + k - 1.  While y passes 0 ... k - 1 it takes row y or, where that is
    not its own (y < r), row y + k: so each y adds to all rows of the tile, and the sums have enough independent chains.
    """

    def __init__(self, module: ir.Module, shape: Shape) -> None:
        self.shape = shape
        self.vector = ir.VectorType(_FLOAT, shape.lanes)
        self.builder, arguments = _function(module, shape.name, "S stride K k O stride")
        self.source, self.source_stride, kernel, self.k, self.out, self.out_stride = arguments
        self.function = self.builder.function
        self.function.linkage = "internal"
        # fmuladd, not fma: where there is no such instruction it is two, not a call of a library
        signature = ir.FunctionType(self.vector, [self.vector] * 3)
        name = f"llvm.fmuladd.v{shape.lanes}f32"
        self.fmuladd = module.globals.get(name) or ir.Function(module, signature, name)
        # the kernel is read backwards: a convolution
        size = self.builder.mul(self.k, self.k)
        self.last_tap = self.builder.gep(kernel, [self.builder.sub(size, _INT(1))])

    def write(self) -> ir.Function:
        """The function, complete."""
        rows = self.shape.rows
        sums: Values = [ir.Constant(self.vector, None)] * (rows * self.shape.vectors)
        for y in range(rows - 1):
            sums = self.row(_INT(y), y + 1, sums)
        every = (_INT(rows - 1), self.k, _INT(1))
        _, sums = _loop(self.builder, every, lambda y, sums: self.row(y, rows, sums), carried=sums)
        for r in range(rows):
            row = self.builder.gep(self.out, [self.builder.mul(self.out_stride, _INT(r))])
            for v in range(self.shape.vectors):
                self.builder.store(sums[r * self.shape.vectors + v], self.vector_at(row, v), align=4)
        self.builder.ret_void()
        return self.function

    def row(self, y: ir.Value, split: int, sums: Values) -> Values:
        """Adds source row y to the tile's rows before `split` and row y + k to the others, times their taps."""
        b = self.builder
        upper = b.gep(self.source, [b.mul(y, self.source_stride)])
        lower = b.gep(upper, [b.mul(self.k, self.source_stride)])
        upper_taps = b.gep(self.last_tap, [b.neg(y)])
        lower_taps = b.gep(upper_taps, [b.neg(self.k)])

        def column(x: ir.Value, sums: Values) -> Values:
            back = b.neg(b.mul(x, self.k))
            sums = self.add(b.gep(upper, [x]), b.gep(upper_taps, [back]), range(split), sums)
            return self.add(b.gep(lower, [x]), b.gep(lower_taps, [back]), range(split, self.shape.rows), sums)

        def two(x: ir.Value, sums: Values) -> Values:
            return column(b.add(x, _INT(1)), column(x, sums))

        last = b.sub(self.k, _INT(1))  # k is odd
        return column(last, _loop(b, (_INT(0), last, _INT(2)), two, carried=sums)[1])

    def add(self, source: ir.Value, tap: ir.Value, rows: range, sums: Values) -> Values:
        """Adds the vectors at `source` to the sums of `rows`, times the tap of each: row r's is at tap[r]."""
        if not rows:
            return sums
        b = self.builder
        sums = list(sums)
        loaded = [b.load(self.vector_at(source, v), align=4) for v in range(self.shape.vectors)]
        undefined = ir.Constant(self.vector, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self.shape.lanes), None)
        for r in rows:
            value = b.load(b.gep(tap, [_INT(r)]), align=4)
            spread = b.shuffle_vector(b.insert_element(undefined, value, ir.IntType(32)(0)), undefined, everywhere)
            for v, vector in enumerate(loaded):
                i = r * self.shape.vectors + v
                sums[i] = b.call(self.fmuladd, [vector, spread, sums[i]])
        return sums

    def vector_at(self, row: ir.Value, index: int) -> ir.Value:
        """Where the vector `index` of a row of floats begins."""
        at = self.builder.gep(row, [_INT(index * self.shape.lanes)])
        return self.builder.bitcast(at, self.vector.as_pointer())


def _strip(module: ir.Module, rows: int, target: Target) -> ir.Function:
    """The function strip(source, stride, kernel, k, out, stride, width): some rows, by the widest tiles that fit."""
    names = "S stride K k O stride width"
    b, (source, source_stride, kernel, k, out, out_stride, width) = _function(module, f"strip_{rows}", names)
    b.function.linkage = "internal"

    def cover(shape: Shape, start: ir.Value, stop: ir.Value, last: ir.Value | None = None) -> ir.Value:
        tile = module.globals.get(shape.name) or _Tile(module, shape).write()

        def body(x: ir.Value, _: Values) -> None:
            at = x if last is None else _smaller(b, x, last)
            for r in range(0, rows, shape.rows):
                read, write = (b.gep(array, [b.add(at, b.mul(step, _INT(r)))]) for array, step in places)
                b.call(tile, [read, source_stride, kernel, k, write, out_stride])

        return _loop(b, (start, stop, _INT(shape.width)), body)[0]

    places = ((source, source_stride), (out, out_stride))
    x = _INT(0)
    vectors = target.vectors if rows > 1 else 1
    while vectors > 1:
        shape = Shape(rows, vectors, target.lanes)
        x = cover(shape, x, b.sub(width, _INT(shape.width - 1)))
        vectors //= 2
    # one vector wide, the last moved back over its neighbour; pixel by pixel where not even one vector fits
    last = b.sub(width, _INT(target.lanes))
    fits = b.icmp_signed(">=", last, _INT(0))
    cover(Shape(rows, 1, target.lanes), b.select(fits, x, width), width, last)
    cover(Shape(1, 1, 1), b.select(fits, width, _INT(0)), width)
    b.ret_void()
    return b.function


def _band(module: ir.Module, rows: int, target: Target) -> None:
    """The function band_`rows` of `band_module`: strip below strip; the last may lie over another."""
    strip = _strip(module, rows, target)
    b, arguments = _function(module, f"band_{rows}", "S stride K k block O stride h w")
    source, source_stride, kernels, k, block, out, out_stride, h, w = arguments

    def of_rows(top: ir.Value, _: Values) -> None:
        y = _smaller(b, top, b.sub(h, _INT(rows)))

        def of_block(x: ir.Value, _: Values) -> None:
            kernel = b.gep(kernels, [b.mul(b.sdiv(x, block), b.mul(k, k))])
            read = b.gep(source, [b.add(b.mul(y, source_stride), x)])
            write = b.gep(out, [b.add(b.mul(y, out_stride), x)])
            b.call(strip, [read, source_stride, kernel, k, write, out_stride, _smaller(b, block, b.sub(w, x))])

        _loop(b, (_INT(0), w, block), of_block)

    _loop(b, (_INT(0), h, _INT(rows)), of_rows)
    b.ret_void()


def band_module(target: Target, tile_rows: int) -> ir.Module:
    """A module with band_1 and band_`tile_rows`(source, stride, kernels, k, block, out, stride, h, w), by their tiles.

    Strides in floats, arrays as in `direct.convolve_rows` but the kernels transposed; h >= the tile's rows, k >= those - 1.
    """
    module = ir.Module("direct")
    for rows in (1, tile_rows):
        _band(module, rows, target)
    return module

// The second pass over the frames on a GPU: what photometry/subtraction/sweep.py does to a band of rows, in fp32.
//
// Guarantees: every product of a convolution is summed, in fp32, one rounding each (fused multiply-adds); nothing outside the
// planes that are named is read or written; sizes come as arguments.  Planes are rows of floats, `pitch` floats apart.
// Which block of threads does what is said in layout.py, which launches them.

#ifdef __CUDACC__
#include <cuda_pipeline.h>
#endif

#define TILE_ROWS 5     // of the output, that a thread keeps in registers
#define TILE_COLUMNS 8  // as many
#define TAPS 4          // neighbours in a row of the kernel that are loaded together
#define THREADS 96      // of a block of convolve() at the most: 64 columns by 60 rows

// Adds four taps of a row of the kernel to a thread's tile.  near: twelve neighbours of each of its rows of the source, as a
// ring of three pieces that begins at `first`; all indices are known to the compiler, so that tile and ring are registers.
static __device__ __forceinline__ void add_taps(float (&sum)[TILE_ROWS][TILE_COLUMNS], const float4 (&near)[3][TILE_ROWS],
                                                const int first, const float4 taps)
{
    const float tap[TAPS] = {taps.x, taps.y, taps.z, taps.w};
#pragma unroll
    for (int y = 0; y < TILE_ROWS; y++) {
        const float4 a = near[first][y], b = near[(first + 1) % 3][y], c = near[(first + 2) % 3][y];
        const float row[12] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, c.x, c.y, c.z, c.w};
#pragma unroll
        for (int i = 0; i < TAPS; i++)
#pragma unroll
            for (int x = 0; x < TILE_COLUMNS; x++)
                sum[y][x] = fmaf(tap[i], row[x + i], sum[y][x]);
    }
}

// One piece of four neighbours of each row of a thread's tile.
static __device__ __forceinline__ void load_piece(float4 (&piece)[TILE_ROWS], const float *place, const int pitch)
{
#pragma unroll
    for (int y = 0; y < TILE_ROWS; y++)
        piece[y] = *(const float4 *)(place + y * pitch);
}

// Copies a rectangle to shared memory, zeros where it lies beyond `height` x `width` of the source.
static __device__ __forceinline__ void copy_tile(float *tile, int pitch, int rows, const float *source, int step, int height,
                                                 int width)
{
    int y = 0;
    for (int x = threadIdx.x; y < rows; x += blockDim.x) {
        for (; x >= pitch && y < rows; x -= pitch)
            y++;
        if (y < rows) {
            const bool inside = y < height && x < width;
            __pipeline_memcpy_async(tile + y * pitch + x, inside ? source + (long long)y * step + x : source, 4,
                                    inside ? 0 : 4);
        }
    }
}

// The kernel (k, k), turned, its rows filled up with zeros to `wide`.
static __device__ __forceinline__ void copy_kernel(float *taps, int wide, const float *kernel, int k)
{
    for (int row = 0; row < k; row++)
        for (int x = threadIdx.x; x < wide; x += blockDim.x)
            taps[row * wide + x] = x < k ? kernel[(k - 1 - row) * k + k - 1 - x] : 0.0f;
}

// out[y, x] = sum over i, j of K[i, j] source[y + k - 1 - i, x + k - 1 - j], as direct.convolve_rows has it.
//
// source (height + k - 1, width + k - 1), out (height, width).  A block of threads makes `rows` x `side` pixels of one
// kernel: kernels[down blockIdx.y + across blockIdx.x].  side is a multiple of 8; of 64, there are pairs of rows of threads.
// Each thread keeps 5 x 8 sums, and walks
// along a row of the kernel with a window of 5 rows, of which it loads a column of four for every 160 multiply-adds.
// Shared memory: see layout.py.  The pitch of the tile is an odd number of float4, so that two rows of threads that lie 5
// rows of the tile apart meet in no bank of shared memory; so do eight lanes of a warp: 4 columns of two rows of threads.
extern "C" __global__ void __launch_bounds__(THREADS)
convolve(const float *source, int source_pitch, const float *kernels, int k, int across, int down, int side, int rows,
         int height, int width, float *out)
{
    extern __shared__ __align__(16) float shared[];
    const int pieces = (k + TAPS - 1) / TAPS, wide = TAPS * pieces, pitch = 4 * ((side / 4 + pieces) | 1);
    const int columns = side / TILE_COLUMNS, beside = columns < 4 ? columns : 4, folds = columns / beside;
    const int x0 = blockIdx.x * side, y0 = blockIdx.y * rows, deep = (int)blockDim.x / columns * TILE_ROWS + k - 1;
    float *taps = shared, *tile = shared + wide * k;

    copy_tile(tile, pitch, deep, source + (long long)y0 * source_pitch + x0, source_pitch, height - y0 + k - 1,
              width - x0 + k - 1);
    __pipeline_commit();
    copy_kernel(taps, wide, kernels + (long long)(down * blockIdx.y + across * blockIdx.x) * k * k, k);
    __pipeline_wait_prior(0);
    __syncthreads();

    // four columns, then two rows, then the other columns: see above
    const int rest = threadIdx.x / beside, pair = folds > 1 ? rest / 2 : rest;
    const int tx = TILE_COLUMNS * (threadIdx.x % beside + (folds > 1 ? beside * (pair % folds) : 0));
    const int ty = TILE_ROWS * (folds > 1 ? pair / folds * 2 + rest % 2 : rest);
    float sum[TILE_ROWS][TILE_COLUMNS] = {};
    float4 near[3][TILE_ROWS];
    for (int i = 0; i < k; i++) {
        const float *row = tile + (ty + i) * pitch + tx;
        const float4 *tap = (const float4 *)(taps + i * wide);
        int left = pieces;
        load_piece(near[0], row, pitch);
        load_piece(near[1], row + 4, pitch);
        // whole rounds of the ring without a branch: no registers are moved, and loads overtake sums
#pragma unroll 1
        for (; left > 2; left -= 3, row += 12, tap += 3) {
            load_piece(near[2], row + 8, pitch);
            add_taps(sum, near, 0, tap[0]);
            load_piece(near[0], row + 12, pitch);
            add_taps(sum, near, 1, tap[1]);
            load_piece(near[1], row + 16, pitch);
            add_taps(sum, near, 2, tap[2]);
        }
        if (left > 0) {
            load_piece(near[2], row + 8, pitch);
            add_taps(sum, near, 0, tap[0]);
        }
        if (left > 1) {
            load_piece(near[0], row + 12, pitch);
            add_taps(sum, near, 1, tap[1]);
        }
    }

    const int bottom = min(rows, height - y0), right = width - x0;
#pragma unroll
    for (int y = 0; y < TILE_ROWS; y++)
#pragma unroll
        for (int x = 0; x < TILE_COLUMNS; x++)
            if (ty + y < bottom && tx + x < right)
                out[(long long)(y0 + ty + y) * width + x0 + tx + x] = sum[y][x];
}

// Mean of 2 x 2 pixels of a plane (height, width); where there is no second row or column, of what there is.
static __device__ __forceinline__ float halved(const float *plane, int pitch, int height, int width, int y, int x)
{
    const float *upper = plane + (long long)(2 * y) * pitch;
    const float *lower = plane + (long long)min(2 * y + 1, height - 1) * pitch;
    const int left = 2 * x, right = min(2 * x + 1, width - 1);
    return 0.25f * (upper[left] + upper[right] + lower[left] + lower[right]);
}

// Which cell of a mesh comes before a pixel, and how far behind its middle that is, in cells.  Whole numbers are exact.
static __device__ __forceinline__ int cell_of(int pixel, int cells, int side, float *share)
{
    const int place = min(max(2 * pixel - (side - 1), 0), 2 * side * (cells - 1));
    const int cell = min(place / (2 * side), max(cells - 2, 0));
    *share = (float)(place - 2 * side * cell) / (float)(2 * side);
    return cell;
}

// A plate.Mesh at a pixel: linear between the cells' middles, constant beyond them.
static __device__ __forceinline__ float mesh_at(const float *nodes, int my, int mx, int side, int y, int x)
{
    float down, across;
    const int j = cell_of(y, my, side, &down), i = cell_of(x, mx, side, &across);
    const float *upper = nodes + j * mx, *lower = nodes + min(j + 1, my - 1) * mx;
    const int next = min(i + 1, mx - 1);
    const float left = upper[i] + down * (lower[i] - upper[i]);
    const float right = upper[next] + down * (lower[next] - upper[next]);
    return left + across * (right - left);
}

// window.variance_of
static __device__ __forceinline__ float variance_of(float light, float noise, float gain, float least)
{
    return fmaxf(noise + light / gain, least * noise);
}

// Window.variance: variance of sky and light of 2 x 2 pixels of data (height, width), out ((height + 1) / 2, ...).
//
// nodes (my, mx): the sky's, of cells of `side` of those pixels; (y0, x0): where out's first is on the frame.
extern "C" __global__ void spread(const float *data, int height, int width, const float *nodes, int my, int mx, int side,
                                  int y0, int x0, float gain, float least, float *out)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    const int across = (width + 1) / 2;
    if (x >= across || y >= (height + 1) / 2)
        return;
    const float light = halved(data, width, height, width, y, x);
    out[(long long)y * across + x] = variance_of(light, mesh_at(nodes, my, mx, side, y0 + y, x0 + x), gain, least);
}

// out = (target - matched - sky) / scale, (height, width); sky: sum over n of down[y, n] across[n, x], n < terms; scale:
// scales[y, 0] + scales[y, 1] u, u = -1 ... 1 along a row.
extern "C" __global__ void subtract(const float *target, const float *matched, const float *down, const float *across,
                                    int terms, const float *scales, int height, int width, float *out)
{
    const int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height)
        return;
    float sky = 0.0f;
    for (int n = 0; n < terms; n++)
        sky = fmaf(down[y * terms + n], across[(long long)n * width + x], sky);
    const long long place = (long long)y * width + x;
    const float scale = fmaf(scales[2 * y + 1], 2.0f / (float)max(width - 1, 1) * (float)x - 1.0f, scales[2 * y]);
    out[place] = (target[place] - matched[place] - sky) / scale;
}

// What a band's noise is made of, a thread for 4 x 4 pixels of shown (height, width), the template's light.
//
// nodes (my, mx), side, y0, gain, least: as for spread(), of the target.  through: the source's variance before the kernel,
// rows `pitch` apart, `scale` the square of the kernel's sum; smooth: the target's after the wide kernel, null: as it is.
// noise: the source's after the squared kernel.  Out, in units that are `factor` of the target's: of 2 x 2 pixels light; of
// 4 x 4 variance, scaled (that is scale through); whole: the variance of every pixel, unless it is null.
extern "C" __global__ void weigh(const float *shown, int height, int width, const float *nodes, int my, int mx, int side,
                                 int y0, float gain, float least, const float *through, int pitch, float scale,
                                 const float *smooth, const float *noise, float factor, float *light, float *variance,
                                 float *scaled, float *whole)
{
    const int X = blockIdx.x * blockDim.x + threadIdx.x, Y = blockIdx.y * blockDim.y + threadIdx.y;
    const int wide = (width + 1) / 2, high = (height + 1) / 2;
    if (2 * X >= wide || 2 * Y >= high)
        return;
    float all = 0.0f, inner = 0.0f;
    for (int b = 0; b < 2; b++)
        for (int a = 0; a < 2; a++) {
            const int y = min(2 * Y + b, high - 1), x = min(2 * X + a, wide - 1);  // the last one counts twice
            const long long place = (long long)y * wide + x;
            const float mean = halved(shown, width, height, width, y, x);
            const float own = variance_of(mean, mesh_at(nodes, my, mx, side, y0 + y, x), gain, least);
            const float passed = scale * through[(long long)y * pitch + x];
            const float total = noise[place] + (smooth ? smooth[place] : own);
            all += total;
            inner += passed;
            light[place] = factor * mean;
            for (int c = 0; whole && c < 4; c++)
                if (2 * y + c / 2 < height && 2 * x + c % 2 < width)
                    whole[(long long)(2 * y + c / 2) * width + 2 * x + c % 2] = factor * factor * total;
        }
    const long long place = (long long)Y * ((wide + 1) / 2) + X;
    variance[place] = 0.25f * factor * factor * all;
    scaled[place] = 0.25f * factor * factor * inner;
}

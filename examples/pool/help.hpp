#pragma once

namespace pool {

/// What --help says below the options.
inline constexpr const char* help_footer =
    R"(Files are .npy, .npz or .h5: FILE.npz:NAME and FILE.h5:NAME name an array; FILE.npz is the array named like
the option (X for --input, prototypes for --slots), or the only one; FILE.h5 likewise, with features for
--input. Beside X, an array ptr or batch is found without being named. Numbers can be float16, float32, float64, integers or bool. A pooling other than uot takes only the
options that name it. If a pooling has a closed form, it is computed in 0 iterations; --iterate runs the
solver instead.

Outputs are .npy files, or HDF5 files if their names end in .h5 or .hdf5.

Exit status: 0; 3 if some bag did not reach the tolerance (the results are written); 2 for bad usage or
input, 1 for any other failure (no output file is created or changed).

Examples:
  pool                                                    a demonstration with made-up bags
  pool --input X.npy                                      one bag, printed
  pool --input X.npy --ptr ptr.npy --pooling max --output Y.npy
  pool --input X.npy --batch batch.npy --empty zeros --pooling mean --output Y.npy
  pool --input bags.npz --pooling max --output Y.npy      its arrays X and ptr (or batch)
  pool --input slide.h5 --pooling max --output Y.npy      its dataset features
  pool --input slide.h5 --alpha0 0.1 --alpha2 1 --output Y.h5 --weights W.h5 --heatmap W.png
  pool --input slide.h5 --alpha0 0.1 --alpha2 1 --memory 2G --output Y.npy
  mpirun -n 8 pool --input slide.h5 --alpha0 0.1 --alpha2 1 --output Y.npy       eight processes together
  pool --input slides/ --pooling max --output Y.npy --report report.json
  pool --input X.npy --ptr ptr.npy --pooling attention --scores s.npy --output Y.npy
  pool --input X.npy --ptr ptr.npy --alpha0 0.1 --output Y.npy --weights W.npy
  pool --input X.npy --ptr ptr.npy --alpha0 0.1 --alpha2 inf --solver newton --output Y.npy --plan P.npy
  pool --input X.npy --ptr ptr.npy --alpha0 0.5 --alpha1 10 --alpha2 10 --iterations 4 --output Y.npy
  pool --input X.npy --ptr ptr.npy --alpha0 0 --alpha2 inf --output Y.npy --report report.json
  pool --input X.npy --ptr ptr.npy --slots 4 --alpha0 0.1 --alpha2 inf --output Y.npy --save-prototypes W.npy
  pool --input X.npy --ptr ptr.npy --slots W.npy --cost dot --alpha2 1 --output Y.npy --plan P.npy
  pool --input X.npy --ptr ptr.npy --slots 4 --system otke --unit --output Y.npy
  pool --input X.npy --ptr ptr.npy --system salad --reward S.npy --dustbin 1 --output Y.npy
  pool --input X.npy --ptr ptr.npy --slots 4 --system otsurv --partial 0.3 --output Y.npy --weights w.npy)";

}  // namespace pool

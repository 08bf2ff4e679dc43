// The entry under the name that AWS's runtime has. `bootstrap.cjs` alone starts some 5 ms sooner, as the module loader of
// ES modules is then not needed unless the function is one.
import "./bootstrap.cjs";

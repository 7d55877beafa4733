// Before anything is drawn, and so not a module: a chosen theme must not flash in the other one.
try {
  const theme = localStorage.getItem("clearcall-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden: the system's theme holds.
}

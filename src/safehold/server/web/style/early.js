/* Before the first paint: the theme and language that were chosen here. */
(function () {
  try {
    var theme = localStorage.getItem('safehold-theme');
    if (theme) document.documentElement.dataset.theme = theme;
    var language = localStorage.getItem('safehold-language');
    if (language) document.documentElement.lang = language;
  } catch (error) {
    /* No storage: the system's theme and the browser's language it is. */
  }
})();

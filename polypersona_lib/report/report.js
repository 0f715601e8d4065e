(function () {
  var box = document.getElementById('claims-tools'), rows = document.querySelectorAll('#claims-table tbody tr');
  var chosen = '', search = document.getElementById('claims-search'), count = document.getElementById('claims-count');
  function show() {
    var text = search.value.toLowerCase(), seen = 0;
    rows.forEach(function (row) {
      var fits = (!chosen || row.dataset.verdict === chosen) && (!text || row.textContent.toLowerCase().indexOf(text) >= 0);
      row.hidden = !fits;
      seen += fits ? 1 : 0;
    });
    count.textContent = seen + ' of ' + rows.length + ' claims shown';
  }
  function open_list() { document.getElementById('claims-table').closest('details').open = true; }
  function open_short() { document.querySelectorAll('details:not(.long)').forEach(function (d) { d.open = true; }); }
  function open_target() {
    var target = location.hash && document.getElementById(location.hash.slice(1)), around = target && target.closest('details');
    if (around) { around.open = true; target.scrollIntoView(); }
  }
  window.addEventListener('beforeprint', open_short);
  window.addEventListener('hashchange', open_target);
  open_target();
  if (!box) { return; }
  function choose(verdict) {
    chosen = verdict;
    open_list();
    box.querySelectorAll('button').forEach(function (button) { button.setAttribute('aria-pressed', String(button.dataset.verdict === verdict)); });
    show();
  }
  document.querySelectorAll('button[data-verdict], a[data-verdict]').forEach(function (way) {
    way.addEventListener('click', function () { choose(way.dataset.verdict); });
  });
  search.addEventListener('input', show);
  search.addEventListener('input', open_list);
  box.hidden = false;
  show();
})();

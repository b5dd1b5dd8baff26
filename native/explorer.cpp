// SPDX-License-Identifier: GPL-3.0-or-later
#include "explorer.h"

#include "version.h"

namespace cloudstore {
namespace {

/** Both explorers take it relative to their own pages, so that it works behind a proxy, too. */
constexpr const char* kPage = "/object-storage/app/";

/** Orthanc Explorer runs the scripts of all plugins in each of its pages, which jQuery Mobile makes
 * from what is in them before "pagebeforecreate" is over. */
constexpr const char* kScript = R"js(
$('#lookup').live('pagebeforecreate', function() {
  $('#lookup-form').append($('<a>').attr({
    id: 'object-storage', href: '../object-storage/app/', rel: 'external', 'data-role': 'button', 'data-icon': 'info'
  }).text('Object storage'));
});
$.each({ patient: 'patients', study: 'studies', series: 'series', instance: 'instances' }, function(page, level) {
  $('#' + page).live('pagebeforecreate', function() {
    var link = $('<a>').attr({ href: '#', id: page + '-object-storage' }).text('Where its files lie');
    link.click(function() {
      var id = $.mobile.pageData && $.mobile.pageData.uuid;
      window.location.href = '../object-storage/app/#' + level + '/' + encodeURIComponent(id || '');
      return false;
    });
    $('#' + page + '-delete').closest('li').after($('<li data-icon="info">').append(link));
  });
});
)js";

}  // namespace

void addToOrthancExplorer(OrthancPluginContext* context) {
  OrthancPluginSetRootUri2(context, kPluginName, kPage);
  OrthancPluginExtendOrthancExplorer2(context, kPluginName, kScript);
}

}  // namespace cloudstore

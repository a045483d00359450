/** Chinese, of `safehold ui`. */
export default {
  'local.title': '仓库',
  'local.footer': '这些页面运行在您自己的电脑上。备份在此浏览器中解密。',
  'local.note': '密钥只保留在此页面的内存中。锁定、离开页面或十分钟无操作后即被遗忘。',
  'local.not-authenticated': '此页面属于已结束的 `safehold ui`。请打开它最后显示的地址。',
  'local.exists': '此地址已被打开过，只能使用一次。如果不是您打开的，请结束 `safehold ui` 并重新启动。',
  'local.ended': '`safehold ui` 不再应答。请重新启动，并打开它显示的地址。',
  'problem.ended': '此页面属于已结束的 `safehold ui`。请打开它最后显示的地址。',
  'problem.store': '存储无法完成此操作：{message}',
};

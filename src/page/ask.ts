// SPDX-License-Identifier: GPL-3.0-or-later

import { byId, setText } from './dom.ts';

/** Asks before something is done. The dialog keeps the keyboard's focus inside, and gives it back. */
export function ask(question: {
  readonly title: string;
  readonly text: string;
  readonly yes: string;
}): Promise<boolean> {
  const dialog = byId('ask') as HTMLDialogElement;
  setText(byId('ask-title'), question.title);
  setText(byId('ask-text'), question.text);
  setText(byId('ask-yes'), question.yes);
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      'close',
      () => {
        resolve(dialog.returnValue === 'yes');
      },
      { once: true },
    );
  });
}

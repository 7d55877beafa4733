/** @template {HTMLElement} T @param {string} id of an element that the page has @returns {T} */
export const byId = (id) => /** @type {T} */ (document.getElementById(id));

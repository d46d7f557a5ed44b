// The device's secret, from which permanent answers are drawn. It is made here once and kept by the browser as a key that
// no script can read out, this page's own among them.

const [DATABASE, STORE, NAME] = ["privzoo", "keys", "permanent"];

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another page is using it"));
  });
}

/** The HMAC key of the secret, 32 random bytes; whichever page comes first makes it. */
export async function readSecret() {
  if (!crypto.subtle || !globalThis.indexedDB) {
    throw new Error("Repeated answers need a page served over https or from this machine; ask without them.");
  }
  try {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    const database = await settled(opening);
    try {
      const algorithm = { name: "HMAC", hash: "SHA-256", length: 256 };
      const made = await crypto.subtle.generateKey(algorithm, false, ["sign"]);
      // One transaction looks and writes, so that of two pages that come at once the second finds the first one's.
      const transaction = database.transaction(STORE, "readwrite", { durability: "strict" });
      const written = new Promise((resolve, reject) => {
        transaction.oncomplete = resolve;
        transaction.onabort = transaction.onerror = () => reject(transaction.error);
      });
      const store = transaction.objectStore(STORE);
      const found = await settled(store.get(NAME));
      if (!found) store.add(made, NAME);
      await written; // an answer under a secret that is then lost would be drawn again
      return found ?? made;
    } finally {
      database.close();
    }
  } catch (error) {
    throw new Error(`The browser cannot store a secret (${error.message}), as in a private window; ask without it.`);
  }
}

document.getElementById("title").textContent = document.title;
